"""Trial balance: every account's opening, movement and closing."""

from marshmallow import Schema

from reportsim.reports.fields import YesNo
from reportsim.reports.report_type import INTERVAL, Check, ReportType, complete_interval
from reportsim.reports.sql import Job, literal

Parameters = Schema.from_dict(
    {
        **INTERVAL,
        "include_zero": YesNo(load_default=False, metadata={"description": "Show accounts without any figure too."}),
    },
    name="TrialBalanceParameters",
)


def balances(job: Job) -> str:
    """Per account: the opening, gross debit and credit of the interval, and the closing, in minor units.

    `kept` is the closing again, from the balances that were kept when the entries were written. The entries are added
    up apart, so that no plan, made without statistics of a new ledger, does it once per account.
    """
    first = literal(job.day("from"))
    shown = "" if job.parameters.get("include_zero") else " AND (moved OR opening <> 0 OR closing <> 0)"
    return f"""
    WITH moves AS MATERIALIZED (
        SELECT account_id, coalesce(sum(amount) FILTER (WHERE posted_on < {first}), 0) AS opening,
            sum(amount) FILTER (WHERE posted_on >= {first} AND amount > 0) AS debit,
            -sum(amount) FILTER (WHERE posted_on >= {first} AND amount < 0) AS credit,
            sum(amount) AS closing, bool_or(posted_on >= {first}) AS moved
        FROM postings WHERE {job.before("to")} GROUP BY account_id)
    SELECT code, name, type, opening, debit, credit, closing, {job.balance_before("to")} AS kept
    FROM accounts LEFT JOIN moves USING (account_id)
    WHERE {job.accounts}{shown}"""


def rows(job: Job) -> str:
    """The lines of the CSV."""
    return f"""
SELECT {job.cell("code")} AS account_code, {job.cell("name")} AS account_name, type AS account_type,
    {job.money("greatest(opening, 0)")} AS opening_debit, {job.money("greatest(-opening, 0)")} AS opening_credit,
    {job.money("debit")} AS period_debit, {job.money("credit")} AS period_credit,
    {job.money("greatest(closing, 0)")} AS closing_debit, {job.money("greatest(-closing, 0)")} AS closing_credit
FROM ({balances(job)}) AS balance ORDER BY code"""


def figures(job: Job) -> str:
    """Totals of the accounts, beside the movement counted straight from the entries."""
    return f"""
SELECT count(*) AS accounts,
    sum(greatest(opening, 0)) AS opening_debit, sum(greatest(-opening, 0)) AS opening_credit,
    sum(debit) AS period_debit, sum(credit) AS period_credit,
    sum(greatest(closing, 0)) AS closing_debit, sum(greatest(-closing, 0)) AS closing_credit,
    count(*) FILTER (WHERE coalesce(opening + coalesce(debit, 0) - coalesce(credit, 0), 0) <> coalesce(kept, 0))
        AS accounts_off,
    (SELECT sum(abs(amount)) FROM postings WHERE {job.interval}) AS entries_gross
FROM ({balances(job)}) AS balance"""


TRIAL_BALANCE = ReportType(
    name="trial_balance",
    title="Trial balance",
    parameters=Parameters,
    complete=complete_interval,
    rows=rows,
    figures=figures,
    totals=(
        "accounts",
        "opening_debit",
        "opening_credit",
        "period_debit",
        "period_credit",
        "closing_debit",
        "closing_credit",
    ),
    checks=(
        Check("debits_equal_credits", lambda f: f["period_debit"] == f["period_credit"]),
        Check("opening_balances", lambda f: f["opening_debit"] == f["opening_credit"]),
        Check("closing_balances", lambda f: f["closing_debit"] == f["closing_credit"]),
        Check("opening_plus_period_is_closing", lambda f: f["accounts_off"] == 0),
        Check("period_is_general_ledger", lambda f: f["period_debit"] + f["period_credit"] == f["entries_gross"]),
        Check("rows_are_accounts", lambda f: f["rows"] == f["accounts"]),
    ),
)
