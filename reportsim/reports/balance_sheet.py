"""Balance sheet: what is owned, owed and left over at the end of a day.

Nothing is closed at year end: earnings of prior years and of the current one are computed, the fiscal year being the
calendar year.
"""

from datetime import date
from typing import Any

from marshmallow import Schema

from reportsim.core.model import Ledger
from reportsim.reports.fields import IsoDate
from reportsim.reports.report_type import Check, ReportType
from reportsim.reports.sql import Job, literal

PRIOR = "Earnings of prior years"
CURRENT = "Earnings of the current year"


class Parameters(Schema):
    """The day at whose end the sheet is drawn up."""

    as_of = IsoDate(metadata={"description": "Last day that counts; by default the ledger's last."})


def complete(parameters: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """Takes the ledger's last day where none is given."""
    return {"as_of": ledger.last_on.isoformat(), **parameters}


def lines(job: Job) -> str:
    """Amounts by section and account in minor units, and the two computed rows, in their order."""
    day = job.day("as_of")
    year = literal(date(day.year, 1, 1))
    return f"""
    WITH sums AS MATERIALIZED (
        SELECT account_id, sum(amount) AS amount, sum(amount) FILTER (WHERE posted_on < {year}) AS before
        FROM postings WHERE {job.postings} AND posted_on <= {literal(day)} GROUP BY account_id),
    balance AS MATERIALIZED (
        SELECT type, code, name, amount, before FROM accounts JOIN sums USING (account_id) WHERE {job.accounts}),
    earned AS (
        SELECT coalesce(-sum(before), 0) AS prior, coalesce(-sum(amount), 0) - coalesce(-sum(before), 0) AS current
        FROM balance WHERE type IN ('revenue', 'expense'))
    SELECT type AS section, code, name, CASE type WHEN 'asset' THEN amount ELSE -amount END AS amount, 0 AS computed
    FROM balance WHERE type IN ('asset', 'liability', 'equity') AND amount <> 0
    UNION ALL SELECT 'equity', NULL, '{PRIOR}', prior, 1 FROM earned
    UNION ALL SELECT 'equity', NULL, '{CURRENT}', current, 2 FROM earned"""


def rows(job: Job) -> str:
    """The lines of the CSV."""
    return f"""
SELECT section, {job.cell("code")} AS account_code, {job.cell("name")} AS account_name, {job.money("amount")} AS amount
FROM ({lines(job)}) AS line
ORDER BY array_position(ARRAY['asset', 'liability', 'equity'], section), computed, code"""


def figures(job: Job) -> str:
    """Totals by section, beside the sum of all entries up to the day."""
    return f"""
SELECT count(*) AS lines, coalesce(sum(amount) FILTER (WHERE section = 'asset'), 0) AS assets,
    coalesce(sum(amount) FILTER (WHERE section = 'liability'), 0) AS liabilities,
    coalesce(sum(amount) FILTER (WHERE section = 'equity' AND computed = 0), 0) AS equity,
    coalesce(sum(amount) FILTER (WHERE computed > 0), 0) AS earnings,
    (SELECT coalesce(sum(amount), 0) FROM postings
        WHERE {job.postings} AND posted_on <= {literal(job.day("as_of"))}) AS entries_sum
FROM ({lines(job)}) AS line"""


BALANCE_SHEET = ReportType(
    name="balance_sheet",
    title="Balance sheet",
    parameters=Parameters,
    complete=complete,
    rows=rows,
    figures=figures,
    totals=("assets", "liabilities", "equity", "earnings"),
    checks=(
        Check(
            "assets_equal_liabilities_and_equity",
            lambda f: f["assets"] == f["liabilities"] + f["equity"] + f["earnings"],
        ),
        Check("entries_sum_to_zero", lambda f: f["entries_sum"] == 0),
        Check("rows_are_lines", lambda f: f["rows"] == f["lines"]),
    ),
)
