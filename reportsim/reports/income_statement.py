"""Income statement: revenue and expense of an interval, whole or by month or quarter."""

from marshmallow import Schema, fields, validate

from reportsim.reports.report_type import INTERVAL, Check, ReportType, complete_interval
from reportsim.reports.sql import Job, literal

Parameters = Schema.from_dict(
    {
        **INTERVAL,
        "group_by": fields.String(
            load_default="none",
            validate=validate.OneOf(["none", "month", "quarter"]),
            metadata={"description": "One amount per account, or one per month or quarter."},
        ),
    },
    name="IncomeStatementParameters",
)


def amounts(job: Job) -> str:
    """Amounts by section, account and period in minor units, without those that are zero."""
    period = job.parameters.get("group_by", "none")
    first = literal(job.day("from"))
    start = first if period == "none" else f"greatest(date_trunc('{period}', posted_on::timestamp)::date, {first})"
    return f"""
    SELECT a.type AS section, a.code, a.name, period_start,
        CASE a.type WHEN 'revenue' THEN -moved ELSE moved END AS amount
    FROM accounts a JOIN (
        SELECT account_id, {start} AS period_start, sum(amount) AS moved
        FROM postings WHERE {job.interval} GROUP BY 1, 2) AS m USING (account_id)
    WHERE a.ledger_id = {job.ledger_id} AND a.type IN ('revenue', 'expense') AND moved <> 0"""


def rows(job: Job) -> str:
    """The lines of the CSV."""
    period = "" if job.parameters.get("group_by", "none") == "none" else "period_start, "
    return f"""
SELECT section, {job.cell("code")} AS account_code, {job.cell("name")} AS account_name, {period}
    {job.money("amount")} AS amount
FROM ({amounts(job)}) AS line ORDER BY section = 'expense', code, period_start"""


def figures(job: Job) -> str:
    """Totals of the lines, beside what the accounts of the balance sheet gained in the same interval."""
    return f"""
SELECT count(*) AS lines, coalesce(sum(amount) FILTER (WHERE section = 'revenue'), 0) AS revenue,
    coalesce(sum(amount) FILTER (WHERE section = 'expense'), 0) AS expense,
    (SELECT -coalesce(sum(amount), 0) FROM postings WHERE {job.interval} AND account_id IN (
        SELECT account_id FROM accounts
        WHERE ledger_id = {job.ledger_id} AND type IN ('revenue', 'expense'))) AS net_income,
    (SELECT coalesce(sum(amount), 0) FROM postings WHERE {job.interval} AND account_id IN (
        SELECT account_id FROM accounts
        WHERE ledger_id = {job.ledger_id} AND type IN ('asset', 'liability', 'equity'))) AS net_assets_gained
FROM ({amounts(job)}) AS line"""


INCOME_STATEMENT = ReportType(
    name="income_statement",
    title="Income statement",
    parameters=Parameters,
    complete=complete_interval,
    rows=rows,
    figures=figures,
    totals=("revenue", "expense", "net_income"),
    checks=(
        Check("net_income_is_revenue_less_expense", lambda f: f["net_income"] == f["revenue"] - f["expense"]),
        Check("net_income_is_change_of_net_assets", lambda f: f["net_income"] == f["net_assets_gained"]),
        Check("rows_are_lines", lambda f: f["rows"] == f["lines"]),
    ),
)
