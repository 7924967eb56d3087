"""Trial balance: every account's opening, movement and closing."""

from typing import Any, Final

from marshmallow import Schema

from reportsim.reports.fields import YesNo
from reportsim.reports.report_type import INTERVAL, Check, Parameters, ReportType, complete_interval, interval
from reportsim.reports.sql import FROM, LEDGER, TO, cell, money, totals

TrialBalanceParameters = Schema.from_dict(
    {
        **INTERVAL,
        "include_zero": YesNo(load_default=False, metadata={"description": "Show accounts without any figure too."}),
    },
    name="TrialBalanceParameters",
)

COLUMNS: Final = (
    "account_code",
    "account_name",
    "account_type",
    "opening_debit",
    "opening_credit",
    "period_debit",
    "period_credit",
    "closing_debit",
    "closing_credit",
)

# $4 and $5 are the days from and to, $6 is whether accounts without any figure are shown.
# account: per account the opening, the gross debit and credit of the interval, and the closing, in minor units.
STATEMENT: Final = f"""
WITH ledger AS ({LEDGER}),
account AS MATERIALIZED (
    SELECT code, name, type, opening.balance AS opening, closing.balance AS closing,
        closing.debit - opening.debit AS debit, closing.credit - opening.credit AS credit
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing
    WHERE a.ledger_id = $1 AND a.version <= $2
        AND ($6 OR opening.balance <> 0 OR closing.balance <> 0 OR closing.entries <> opening.entries)),
line AS (
    SELECT code, concat_ws(',', {cell("code")}, {cell("name")}, type,
        {money("greatest(opening, 0)")}, {money("greatest(-opening, 0)")}, {money("debit")}, {money("credit")},
        {money("greatest(closing, 0)")}, {money("greatest(-closing, 0)")}) AS text
    FROM account CROSS JOIN ledger)
SELECT currency, exponent, (SELECT coalesce(string_agg(text || E'\\n', '' ORDER BY code), '') FROM line) AS text,
    figure.*, entries_gross
FROM ledger CROSS JOIN (
    SELECT count(*) AS accounts,
        sum(greatest(opening, 0)) AS opening_debit, sum(greatest(-opening, 0)) AS opening_credit,
        sum(debit) AS period_debit, sum(credit) AS period_credit,
        sum(greatest(closing, 0)) AS closing_debit, sum(greatest(-closing, 0)) AS closing_credit,
        count(*) FILTER (WHERE opening + debit - credit <> closing) AS accounts_off
    FROM account) AS figure
CROSS JOIN (
    SELECT closing.debit - opening.debit + closing.credit - opening.credit AS entries_gross
    FROM {totals("0", FROM)} AS opening CROSS JOIN {totals("0", TO)} AS closing) AS all_accounts
"""


def arguments(parameters: Parameters) -> tuple[Any, ...]:
    """The interval, and whether all accounts are shown."""
    return *interval(parameters), parameters.get("include_zero", False)


TRIAL_BALANCE = ReportType(
    name="trial_balance",
    title="Trial balance",
    parameters=TrialBalanceParameters,
    complete=complete_interval,
    columns=lambda parameters: COLUMNS,
    statement=STATEMENT,
    arguments=arguments,
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
