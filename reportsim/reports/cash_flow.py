"""Cash flow statement, direct method: what cash came from and went to.

Every transaction with a cash line is explained by its other lines, with the sign turned.
"""

from typing import Final

from marshmallow import Schema

from reportsim.reports.report_type import INTERVAL, Check, ReportType, complete_interval, interval
from reportsim.reports.sql import FROM, LEDGER, TO, cell, money, totals

CashFlowParameters = Schema.from_dict(dict(INTERVAL), name="CashFlowParameters")
COLUMNS: Final = ("section", "account_code", "account_name", "amount")

# $4 and $5 are the days from and to.
# line: the amounts by section and account in minor units, without those that are zero.
STATEMENT: Final = f"""
WITH ledger AS ({LEDGER}),
account AS MATERIALIZED (
    SELECT is_cash, cf_section, code, name, opening.balance AS opening, closing.balance AS closing,
        opening.cash - closing.cash AS amount
    FROM accounts AS a
    CROSS JOIN LATERAL {totals("a.account_id", FROM)} AS opening
    CROSS JOIN LATERAL {totals("a.account_id", TO)} AS closing
    WHERE a.ledger_id = $1 AND a.version <= $2),
line AS MATERIALIZED (
    SELECT CASE WHEN cf_section IN ('financing', 'investing') THEN cf_section ELSE 'operating' END AS section,
        code, name, amount
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

CASH_FLOW = ReportType(
    name="cash_flow",
    title="Cash flow statement",
    parameters=CashFlowParameters,
    complete=complete_interval,
    columns=lambda parameters: COLUMNS,
    statement=STATEMENT,
    arguments=interval,
    totals=("opening_cash", "operating", "investing", "financing", "net_change", "closing_cash"),
    checks=(
        Check("opening_plus_change_is_closing", lambda f: f["opening_cash"] + f["net_change"] == f["closing_cash"]),
        Check("sections_sum_to_change", lambda f: f["operating"] + f["investing"] + f["financing"] == f["net_change"]),
        Check("rows_are_lines", lambda f: f["rows"] == f["lines"]),
    ),
)
