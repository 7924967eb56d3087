"""Trial balance: every account's opening, movement and closing."""

from dataclasses import replace
from typing import Any, Final

from marshmallow import Schema

from reportsim.reports.comparison import PREVIOUS_PERIOD, PREVIOUS_YEAR, compare_field
from reportsim.reports.csv_guard import cell
from reportsim.reports.fields import YesNo
from reportsim.reports.report_type import (
    INTERVAL,
    Check,
    Parameters,
    ReportType,
    compared_interval,
    complete_interval,
    interval,
    of_compared,
)
from reportsim.reports.sql import COMPARED_TO, FROM, LEDGER, TO, money, totals

TrialBalanceParameters = Schema.from_dict(
    {
        **INTERVAL,
        "include_zero": YesNo(load_default=False, metadata={"description": "Show accounts without any figure too."}),
        "compare": compare_field(PREVIOUS_PERIOD, PREVIOUS_YEAR),
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

COMPARED_COLUMNS: Final = (*COLUMNS, "compare_closing_debit", "compare_closing_credit", "difference")

# $4 and $5 are the days from and to, $6 is whether accounts without any figure are shown, $7 the day after those that
# are compared.
# account: per account the opening, the gross debit and credit of the interval, and the closing, in minor units.
BALANCES: Final = """code, name, type, opening.balance AS opening, closing.balance AS closing,
        closing.debit - opening.debit AS debit, closing.credit - opening.credit AS credit"""
ACCOUNTS: Final = f"""accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing"""
SHOWN: Final = "$6 OR opening.balance <> 0 OR closing.balance <> 0 OR closing.entries <> opening.entries"
CELLS: Final = f"""{cell("code")}, {cell("name")}, type,
        {money("greatest(opening, 0)")}, {money("greatest(-opening, 0)")}, {money("debit")}, {money("credit")},
        {money("greatest(closing, 0)")}, {money("greatest(-closing, 0)")}"""
TEXT: Final = "coalesce(string_agg(text || E'\\n', '' ORDER BY code), '')"
FIGURES: Final = """count(*) AS accounts,
        sum(greatest(opening, 0)) AS opening_debit, sum(greatest(-opening, 0)) AS opening_credit,
        sum(debit) AS period_debit, sum(credit) AS period_credit,
        sum(greatest(closing, 0)) AS closing_debit, sum(greatest(-closing, 0)) AS closing_credit,
        count(*) FILTER (WHERE opening + debit - credit <> closing) AS accounts_off"""
ALL_ACCOUNTS: Final = f"""(
    SELECT closing.debit - opening.debit + closing.credit - opening.credit AS entries_gross
    FROM {totals("0", FROM)} AS opening CROSS JOIN {totals("0", TO)} AS closing) AS all_accounts"""

STATEMENT: Final = f"""
WITH {LEDGER},
account AS MATERIALIZED (
    SELECT {BALANCES}
    FROM {ACCOUNTS}
    WHERE a.ledger_id = $1 AND a.version <= $2 AND ({SHOWN})),
line AS (
    SELECT code, concat_ws(',', {CELLS}) AS text
    FROM account CROSS JOIN ledger)
SELECT currency, exponent, (SELECT {TEXT} FROM line) AS text, figure.*, entries_gross
FROM ledger CROSS JOIN (SELECT {FIGURES} FROM account) AS figure
CROSS JOIN {ALL_ACCOUNTS}
"""

COMPARED_STATEMENT: Final = f"""
WITH {LEDGER},
account AS MATERIALIZED (
    SELECT {BALANCES}, compared.balance AS compared
    FROM {ACCOUNTS}
    CROSS JOIN LATERAL {totals("a.account_id", COMPARED_TO)} AS compared
    WHERE a.ledger_id = $1 AND a.version <= $2 AND ({SHOWN} OR compared.balance <> 0)),
line AS (
    SELECT code, concat_ws(',', {CELLS},
        {money("greatest(compared, 0)")}, {money("greatest(-compared, 0)")}, {money("(closing - compared)")}) AS text
    FROM account CROSS JOIN ledger)
SELECT currency, exponent, (SELECT {TEXT} FROM line) AS text, figure.*, entries_gross
FROM ledger CROSS JOIN (
    SELECT {FIGURES},
        sum(greatest(compared, 0)) AS compare_closing_debit, sum(greatest(-compared, 0)) AS compare_closing_credit
    FROM account) AS figure
CROSS JOIN {ALL_ACCOUNTS}
"""


def arguments(parameters: Parameters) -> tuple[Any, ...]:
    """The interval, and whether all accounts are shown."""
    return *interval(parameters), parameters.get("include_zero", False)


def compared_arguments(parameters: Parameters) -> tuple[Any, ...]:
    """The same, and where the other interval ends."""
    return *arguments(parameters), compared_interval(parameters)[1]


CLOSING_BALANCES: Final = Check("closing_balances", lambda f: f["closing_debit"] == f["closing_credit"])

PLAIN: Final = ReportType(
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
        CLOSING_BALANCES,
        Check("opening_plus_period_is_closing", lambda f: f["accounts_off"] == 0),
        Check("period_is_general_ledger", lambda f: f["period_debit"] + f["period_credit"] == f["entries_gross"]),
        Check("rows_are_accounts", lambda f: f["rows"] == f["accounts"]),
    ),
)

# What is compared of a trial balance are its closing balances.
COMPARED: Final = replace(
    PLAIN,
    columns=lambda parameters: COMPARED_COLUMNS,
    statement=COMPARED_STATEMENT,
    arguments=compared_arguments,
    checks=(*PLAIN.checks, of_compared(CLOSING_BALANCES)),
    compared_totals=("closing_debit", "closing_credit"),
)

TRIAL_BALANCE = replace(PLAIN, variants={"compare": COMPARED})
