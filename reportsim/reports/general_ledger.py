"""General ledger: every entry of every account, with a running balance."""

from marshmallow import Schema, validate

from reportsim.reports.fields import Several, Text
from reportsim.reports.report_type import INTERVAL, Check, ReportType, complete_interval
from reportsim.reports.sql import Job, literal, texts

MOST_CODES = 1_000

Parameters = Schema.from_dict(
    {
        **INTERVAL,
        "account_codes": Several(
            Text(validate=validate.Length(1, 100)),
            validate=validate.Length(1, MOST_CODES),
            metadata={"description": "Only these accounts; by default all."},
        ),
    },
    name="GeneralLedgerParameters",
)


def chosen(job: Job) -> str:
    """The condition on accounts."""
    codes = job.parameters.get("account_codes")
    among = f" AND code = ANY({texts(codes)})" if codes else ""
    return f"{job.accounts}{among}"


def rows(job: Job) -> str:
    """The lines of the CSV; one sort serves both the running sum and the order.

    Accounts are worked out once and apart: joined in place, their openings were looked up for every entry. Their
    order as a number halves the time of the sort.
    """
    running = """sum(p.amount) OVER (PARTITION BY a.place ORDER BY p.posted_on, p.transaction_id, p.line_no
        ROWS UNBOUNDED PRECEDING) + a.opening"""
    return f"""
WITH a AS MATERIALIZED (
    SELECT account_id, row_number() OVER (ORDER BY code) AS place,
        {job.cell("code")} AS code_cell, {job.cell("name")} AS name_cell,
        coalesce({job.balance_before("from")}, 0) AS opening
    FROM accounts WHERE {chosen(job)})
SELECT a.code_cell AS account_code, a.name_cell AS account_name, p.posted_on AS date, p.transaction_id,
    {job.money("greatest(p.amount, 0)")} AS debit, {job.money("greatest(-p.amount, 0)")} AS credit,
    {job.money(running)} AS running_balance, {job.cell("p.description")} AS description
FROM postings p JOIN a USING (account_id)
WHERE {job.interval}
ORDER BY a.place, p.posted_on, p.transaction_id, p.line_no"""


def figures(job: Job) -> str:
    """Totals straight from the entries, and the kept closing balance of the account that comes last."""
    whole = not job.parameters.get("account_codes")
    among = "" if whole else f" AND account_id IN (SELECT account_id FROM accounts WHERE {chosen(job)})"
    return f"""
SELECT count(*) AS entries, sum(amount) FILTER (WHERE amount > 0) AS debit,
    -sum(amount) FILTER (WHERE amount < 0) AS credit, {int(whole)} AS whole,
    (SELECT {job.balance_before("to")} FROM accounts WHERE {chosen(job)} AND (
        SELECT true FROM balances WHERE {job.postings} AND account_id = accounts.account_id
            AND day >= {literal(job.day("from"))} AND {job.is_before("day", "to")} LIMIT 1)
        ORDER BY code DESC LIMIT 1) AS last_closing
FROM postings WHERE {job.interval}{among}"""


GENERAL_LEDGER = ReportType(
    name="general_ledger",
    title="General ledger",
    parameters=Parameters,
    complete=complete_interval,
    rows=rows,
    figures=figures,
    balance_column=6,
    totals=("debit", "credit"),
    checks=(
        Check("rows_are_entries", lambda f: f["rows"] == f["entries"]),
        Check("debits_equal_credits", lambda f: not f["whole"] or f["debit"] == f["credit"]),
        Check("last_balance_is_closing", lambda f: not f["rows"] or f["last_balance"] == f["last_closing"]),
    ),
)
