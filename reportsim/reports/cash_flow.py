"""Cash flow statement, direct method: what cash came from and went to.

Every transaction with a cash line is explained by its other lines, with the sign turned.
"""

from marshmallow import Schema

from reportsim.reports.report_type import INTERVAL, Check, ReportType, complete_interval
from reportsim.reports.sql import Job

Parameters = Schema.from_dict(dict(INTERVAL), name="CashFlowParameters")


def accounts(job: Job, condition: str) -> str:
    """The ids of some accounts."""
    return f"(SELECT account_id FROM accounts WHERE {job.accounts} AND {condition})"


def flows(job: Job) -> str:
    """Amounts by section and account in minor units, without those that are zero."""
    return f"""
    SELECT CASE WHEN a.cf_section IN ('financing', 'investing') THEN a.cf_section ELSE 'operating' END AS section,
        a.code, a.name, amount
    FROM accounts a JOIN (
        SELECT account_id, -sum(amount) AS amount
        FROM postings JOIN (
            SELECT DISTINCT transaction_id FROM postings
            WHERE {job.interval} AND account_id IN {accounts(job, "is_cash")}) AS with_cash USING (transaction_id)
        WHERE {job.interval} GROUP BY account_id) AS m USING (account_id)
    WHERE a.ledger_id = {job.ledger_id} AND NOT a.is_cash AND amount <> 0"""


def rows(job: Job) -> str:
    """The lines of the CSV."""
    return f"""
SELECT section, {job.cell("code")} AS account_code, {job.cell("name")} AS account_name, {job.money("amount")} AS amount
FROM ({flows(job)}) AS line ORDER BY section, code"""


def figures(job: Job) -> str:
    """Totals by section, beside the cash accounts' own balances."""
    cash = f"SELECT coalesce(sum(amount), 0) FROM postings WHERE account_id IN {accounts(job, 'is_cash')} AND"
    return f"""
SELECT count(*) AS lines, coalesce(sum(amount), 0) AS net_change,
    coalesce(sum(amount) FILTER (WHERE section = 'operating'), 0) AS operating,
    coalesce(sum(amount) FILTER (WHERE section = 'investing'), 0) AS investing,
    coalesce(sum(amount) FILTER (WHERE section = 'financing'), 0) AS financing,
    ({cash} {job.before("from")}) AS opening_cash,
    ({cash} {job.before("to")}) AS closing_cash
FROM ({flows(job)}) AS line"""


CASH_FLOW = ReportType(
    name="cash_flow",
    title="Cash flow statement",
    parameters=Parameters,
    complete=complete_interval,
    rows=rows,
    figures=figures,
    totals=("opening_cash", "operating", "investing", "financing", "net_change", "closing_cash"),
    checks=(
        Check("opening_plus_change_is_closing", lambda f: f["opening_cash"] + f["net_change"] == f["closing_cash"]),
        Check("sections_sum_to_change", lambda f: f["operating"] + f["investing"] + f["financing"] == f["net_change"]),
        Check("rows_are_lines", lambda f: f["rows"] == f["lines"]),
    ),
)
