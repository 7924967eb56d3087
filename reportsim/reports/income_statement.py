"""Income statement: revenue and expense of an interval, whole or by month or quarter."""

from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate

from reportsim.core.model import Ledger
from reportsim.reports.comparison import PREVIOUS_PERIOD, PREVIOUS_YEAR, compare_field
from reportsim.reports.csv_guard import cell
from reportsim.reports.report_type import (
    INTERVAL,
    ROWS_ARE_LINES,
    Check,
    Parameters,
    ReportType,
    compared_arguments,
    complete_interval,
    interval,
    with_comparison,
)
from reportsim.reports.sql import COMPARED_FROM, COMPARED_TO, FROM, LEDGER, TO, money, totals

WHOLE: Final = "none"

IncomeStatementParameters = Schema.from_dict(
    {
        **INTERVAL,
        "group_by": fields.String(
            load_default=WHOLE,
            validate=validate.OneOf([WHOLE, "month", "quarter"]),
            metadata={"description": "One amount per account, or one per month or quarter."},
        ),
        "compare": compare_field(PREVIOUS_PERIOD, PREVIOUS_YEAR),
    },
    name="IncomeStatementParameters",
)

# The next period after a day in which an account has entries. $6 is its unit, and NULL stands for the whole interval.
LENGTH: Final = "make_interval(months => CASE $6 WHEN 'quarter' THEN 3 ELSE 1 END)"
NEXT_PERIOD: Final = f"""(
        SELECT coalesce(greatest(date_trunc($6, day::timestamp)::date, {FROM}), {FROM}) AS start,
            coalesce(least((date_trunc($6, day::timestamp) + {LENGTH})::date, {TO}), {TO}) AS after
        FROM balances
        WHERE ledger_id = $1 AND account_id = {{account}} AND day >= {{day}} AND day < {TO} AND version <= $2
        ORDER BY day LIMIT 1)"""

# $4 and $5 are the days from and to, $6 is the unit of periods or NULL.
# account: what each account gained in the interval. period: its periods with entries, each found from the one before;
# it opens with the closing balance of that.
# line: the amounts by section, account and period in minor units, without those that are zero.
STATEMENT: Final = f"""
WITH RECURSIVE {LEDGER},
account AS MATERIALIZED (
    SELECT account_id, type, code, name, opening.balance AS opening, closing.balance - opening.balance AS gained
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing
    WHERE a.ledger_id = $1 AND a.version <= $2),
period AS (
    SELECT account_id, start, after
    FROM account AS a CROSS JOIN LATERAL {NEXT_PERIOD.format(account="a.account_id", day=FROM)} AS first
    WHERE type IN ('revenue', 'expense')
    UNION ALL
    SELECT account_id, next.start, next.after
    FROM period AS p CROSS JOIN LATERAL {NEXT_PERIOD.format(account="p.account_id", day="p.after")} AS next
    WHERE p.after < {TO}),
line AS MATERIALIZED (
    SELECT type AS section, code, name, start, CASE type WHEN 'revenue' THEN -gained ELSE gained END AS amount
    FROM (
        SELECT type, code, name, start, closing.balance - lag(closing.balance, 1, opening) OVER (
            PARTITION BY account_id ORDER BY start) AS gained
        FROM account JOIN period AS p USING (account_id)
        CROSS JOIN LATERAL {totals("p.account_id", "p.after")} AS closing) AS change
    WHERE gained <> 0)
SELECT currency, exponent, (
        SELECT coalesce(string_agg(concat_ws(',', section, {cell("code")}, {cell("name")},
            CASE WHEN $6 IS NOT NULL THEN start END, {money("amount")}) || E'\\n', ''
            ORDER BY section = 'expense', code, start), '')
        FROM line) AS text, figure.*, gained.*
FROM ledger CROSS JOIN (
    SELECT count(*) AS lines, sum(amount) FILTER (WHERE section = 'revenue') AS revenue,
        sum(amount) FILTER (WHERE section = 'expense') AS expense
    FROM line) AS figure
CROSS JOIN (
    SELECT -sum(gained) FILTER (WHERE type IN ('revenue', 'expense')) AS net_income,
        sum(gained) FILTER (WHERE type NOT IN ('revenue', 'expense')) AS net_assets_gained
    FROM account) AS gained
"""


# $6 and $7 are the days from and to that are compared.
COMPARED_STATEMENT: Final = f"""
WITH {LEDGER},
account AS MATERIALIZED (
    SELECT type, code, name, closing.balance - opening.balance AS gained,
        compare_closing.balance - compare_opening.balance AS compare_gained
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing
    CROSS JOIN LATERAL {totals("a.account_id", COMPARED_FROM)} AS compare_opening
    CROSS JOIN LATERAL {totals("a.account_id", COMPARED_TO)} AS compare_closing
    WHERE a.ledger_id = $1 AND a.version <= $2),
line AS MATERIALIZED (
    SELECT type AS section, code, name, CASE type WHEN 'revenue' THEN -gained ELSE gained END AS amount,
        CASE type WHEN 'revenue' THEN -compare_gained ELSE compare_gained END AS compare_amount
    FROM account WHERE type IN ('revenue', 'expense') AND (gained <> 0 OR compare_gained <> 0))
SELECT currency, exponent, (
        SELECT coalesce(string_agg(concat_ws(',', section, {cell("code")}, {cell("name")}, {money("amount")},
            {money("compare_amount")}, {money("(amount - compare_amount)")}) || E'\\n', ''
            ORDER BY section = 'expense', code), '')
        FROM line) AS text, figure.*, gained.*
FROM ledger CROSS JOIN (
    SELECT count(*) AS lines, sum(amount) FILTER (WHERE section = 'revenue') AS revenue,
        sum(amount) FILTER (WHERE section = 'expense') AS expense,
        sum(compare_amount) FILTER (WHERE section = 'revenue') AS compare_revenue,
        sum(compare_amount) FILTER (WHERE section = 'expense') AS compare_expense
    FROM line) AS figure
CROSS JOIN (
    SELECT -sum(gained) FILTER (WHERE type IN ('revenue', 'expense')) AS net_income,
        sum(gained) FILTER (WHERE type NOT IN ('revenue', 'expense')) AS net_assets_gained,
        -sum(compare_gained) FILTER (WHERE type IN ('revenue', 'expense')) AS compare_net_income,
        sum(compare_gained) FILTER (WHERE type NOT IN ('revenue', 'expense')) AS compare_net_assets_gained
    FROM account) AS gained
"""


def complete(parameters: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """Fills in the ledger's window; amounts by period have no others beside them."""
    if "compare" in parameters and parameters.get("group_by", WHOLE) != WHOLE:
        raise ValidationError({"compare": ["Not with group_by month or quarter: choose one of the two."]})
    return complete_interval(parameters, ledger)


def columns(parameters: Parameters) -> tuple[str, ...]:
    """The header, which names the period where there are several."""
    period = () if parameters.get("group_by", WHOLE) == WHOLE else ("period_start",)
    return "section", "account_code", "account_name", *period, "amount"


def arguments(parameters: Parameters) -> tuple[Any, ...]:
    """The interval and the unit of its periods."""
    unit = parameters.get("group_by", WHOLE)
    return *interval(parameters), None if unit == WHOLE else unit


TOTALS: Final = ("revenue", "expense", "net_income")
CHECKS: Final = (
    Check("net_income_is_revenue_less_expense", lambda f: f["net_income"] == f["revenue"] - f["expense"]),
    Check("net_income_is_change_of_net_assets", lambda f: f["net_income"] == f["net_assets_gained"]),
)

PLAIN: Final = ReportType(
    name="income_statement",
    title="Income statement",
    parameters=IncomeStatementParameters,
    complete=complete,
    columns=columns,
    statement=STATEMENT,
    arguments=arguments,
    totals=TOTALS,
    checks=(*CHECKS, ROWS_ARE_LINES),
)

INCOME_STATEMENT: Final = with_comparison(PLAIN, COMPARED_STATEMENT, compared_arguments, CHECKS)
