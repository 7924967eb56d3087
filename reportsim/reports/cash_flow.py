"""Cash flow statement, direct method: what cash came from and went to.

Every transaction with a cash line is explained by its other lines, with the sign turned.
"""

from typing import Final

from marshmallow import Schema

from reportsim.reports.comparison import PREVIOUS_PERIOD, PREVIOUS_YEAR, compare_field
from reportsim.reports.csv_guard import cell
from reportsim.reports.report_type import (
    INTERVAL,
    ROWS_ARE_LINES,
    Check,
    ReportType,
    compared_arguments,
    complete_interval,
    interval,
    with_comparison,
)
from reportsim.reports.sql import COMPARED_FROM, COMPARED_TO, FROM, LEDGER, TO, money, totals

CashFlowParameters = Schema.from_dict(
    {**INTERVAL, "compare": compare_field(PREVIOUS_PERIOD, PREVIOUS_YEAR)}, name="CashFlowParameters"
)
COLUMNS: Final = ("section", "account_code", "account_name", "amount")
SECTION: Final = "CASE WHEN cf_section IN ('financing', 'investing') THEN cf_section ELSE 'operating' END AS section"

# $4 and $5 are the days from and to.
# line: the amounts by section and account in minor units, without those that are zero.
STATEMENT: Final = f"""
WITH {LEDGER},
account AS MATERIALIZED (
    SELECT is_cash, cf_section, code, name, opening.balance AS opening, closing.balance AS closing,
        opening.cash - closing.cash AS amount
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing
    WHERE a.ledger_id = $1 AND a.version <= $2),
line AS MATERIALIZED (
    SELECT {SECTION}, code, name, amount
    FROM account WHERE NOT is_cash AND amount <> 0)
SELECT currency, exponent, (
        SELECT coalesce(string_agg(concat_ws(',', section, {cell("code")}, {cell("name")}, {money("amount")}) || E'\\n',
            '' ORDER BY section, code), '')
        FROM line) AS text, figure.*, cash.*
FROM ledger CROSS JOIN (
    SELECT count(*) AS lines, sum(amount) AS net_change,
        sum(amount) FILTER (WHERE section = 'operating') AS operating,
        sum(amount) FILTER (WHERE section = 'investing') AS investing,
        sum(amount) FILTER (WHERE section = 'financing') AS financing
    FROM line) AS figure
CROSS JOIN (
    SELECT sum(opening) AS opening_cash, sum(closing) AS closing_cash FROM account WHERE is_cash) AS cash
"""

# $6 and $7 are the days from and to that are compared.
COMPARED_STATEMENT: Final = f"""
WITH {LEDGER},
account AS MATERIALIZED (
    SELECT is_cash, cf_section, code, name, opening.balance AS opening, closing.balance AS closing,
        opening.cash - closing.cash AS amount, compare_opening.balance AS compare_opening,
        compare_closing.balance AS compare_closing, compare_opening.cash - compare_closing.cash AS compare_amount
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing
    CROSS JOIN LATERAL {totals("a.account_id", COMPARED_FROM)} AS compare_opening
    CROSS JOIN LATERAL {totals("a.account_id", COMPARED_TO)} AS compare_closing
    WHERE a.ledger_id = $1 AND a.version <= $2),
line AS MATERIALIZED (
    SELECT {SECTION}, code, name, amount, compare_amount
    FROM account WHERE NOT is_cash AND (amount <> 0 OR compare_amount <> 0))
SELECT currency, exponent, (
        SELECT coalesce(string_agg(concat_ws(',', section, {cell("code")}, {cell("name")}, {money("amount")},
            {money("compare_amount")}, {money("(amount - compare_amount)")}) || E'\\n', '' ORDER BY section, code), '')
        FROM line) AS text, figure.*, cash.*
FROM ledger CROSS JOIN (
    SELECT count(*) AS lines, sum(amount) AS net_change,
        sum(amount) FILTER (WHERE section = 'operating') AS operating,
        sum(amount) FILTER (WHERE section = 'investing') AS investing,
        sum(amount) FILTER (WHERE section = 'financing') AS financing,
        sum(compare_amount) AS compare_net_change,
        sum(compare_amount) FILTER (WHERE section = 'operating') AS compare_operating,
        sum(compare_amount) FILTER (WHERE section = 'investing') AS compare_investing,
        sum(compare_amount) FILTER (WHERE section = 'financing') AS compare_financing
    FROM line) AS figure
CROSS JOIN (
    SELECT sum(opening) AS opening_cash, sum(closing) AS closing_cash,
        sum(compare_opening) AS compare_opening_cash, sum(compare_closing) AS compare_closing_cash
    FROM account WHERE is_cash) AS cash
"""


TOTALS: Final = ("opening_cash", "operating", "investing", "financing", "net_change", "closing_cash")
CHECKS: Final = (
    Check("opening_plus_change_is_closing", lambda f: f["opening_cash"] + f["net_change"] == f["closing_cash"]),
    Check("sections_sum_to_change", lambda f: f["operating"] + f["investing"] + f["financing"] == f["net_change"]),
)

PLAIN: Final = ReportType(
    name="cash_flow",
    title="Cash flow statement",
    parameters=CashFlowParameters,
    complete=complete_interval,
    columns=lambda parameters: COLUMNS,
    statement=STATEMENT,
    arguments=interval,
    totals=TOTALS,
    checks=(*CHECKS, ROWS_ARE_LINES),
)

CASH_FLOW: Final = with_comparison(PLAIN, COMPARED_STATEMENT, compared_arguments, CHECKS)
