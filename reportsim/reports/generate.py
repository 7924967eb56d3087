"""How a report is made: one row of figures, one COPY into the file.

Both see the same entries without a transaction around them, since the version of the ledger says which those are. When
the ledger is deleted between them, the checks fail, and then it is looked for.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files.draft import Draft
from reportsim.reports.report_type import ReportType
from reportsim.reports.sql import Job
from reportsim.store.pool import Connection, Lends

# A long listing gets memory to sort in, and no compiler. That one report takes one core is said by the table itself:
# parallel workers would make concurrent reports bend each other, and what is measured.
BEGIN: Final = """
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL jit = off;
SET LOCAL work_mem = '64MB'; SET LOCAL statement_timeout = 0
"""
LONG: Final = 20_000
SELECT_FIGURES: Final = """
SELECT ledger.currency, ledger.exponent, figure.*
FROM ledgers AS ledger CROSS JOIN ({figures}) AS figure WHERE ledger.ledger_id = {ledger_id}
"""
SELECT_LEDGER: Final = "SELECT 1 FROM ledgers WHERE ledger_id = $1"
TIMEOUT_S: Final = 600.0


class LedgerDeleted(Exception):
    """The ledger of a request is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that passed its checks; the file's hash and size are the draft's."""

    rows: int
    currency: str
    exponent: int
    totals: dict[str, int]
    checks: list[dict[str, Any]]


@contextlib.asynccontextmanager
async def prepared_for(connection: Connection, entries: int) -> AsyncIterator[None]:
    """A transaction set up for as many entries, where they are many; what disturbs it leaves it open, to be closed."""
    if entries < LONG:
        yield
        return
    await connection.execute(BEGIN)
    yield
    await connection.execute("ROLLBACK")


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Makes a report that takes too long fail: unlike an absent database, that would only happen again."""
    try:
        yield
    except TimeoutError:
        raise Problem("report-failed", f"The report took longer than {TIMEOUT_S:g} s.") from None


async def generate(connections: Lends, request: Request, draft: Draft) -> Report:
    """Writes the report of a request into a draft.

    Raises:
        LedgerDeleted: there is nothing to report on any more.
        Problem: `report-failed`, when it takes too long, or when a check does not hold; it names the check.
        asyncpg.PostgresError, DatabaseUnavailable: the database is away; the report can be tried again.
    """
    report_type = CATALOG[request.input_payload["report_type"]]
    job = Job(
        ledger_id=request.ledger_id,
        version=request.ledger_version,
        parameters=request.input_payload,
        csv_guard=request.csv_guard,
    )
    async with connections.acquire() as connection:
        statement = SELECT_FIGURES.format(figures=report_type.figures(job), ledger_id=job.ledger_id)
        with in_time():
            found = await connection.fetchrow(statement, timeout=TIMEOUT_S)
        if found is None:
            raise LedgerDeleted
        currency, job = found["currency"], replace(job, exponent=found["exponent"])
        figures = {name: int(value or 0) for name, value in list(found.items())[2:]}
        async with prepared_for(connection, figures.get("entries", 0)):
            with in_time():
                tag = await connection.copy_from_query(
                    report_type.rows(job), output=draft.write, format="csv", header=True, timeout=TIMEOUT_S
                )
    figures["rows"] = rows = int(tag.rpartition(" ")[2])
    if rows and report_type.balance_column is not None:
        last = Decimal(draft.last_record()[report_type.balance_column])
        figures["last_balance"] = int(last.scaleb(job.exponent))
    try:
        return conclude(report_type, figures, currency, job.exponent)
    except Problem:
        # A ledger that is deleted between the two statements has figures and no rows.
        async with connections.acquire() as connection:
            if await connection.fetchval(SELECT_LEDGER, job.ledger_id) is None:
                raise LedgerDeleted from None
        raise


def conclude(report_type: ReportType, figures: Mapping[str, int], currency: str, exponent: int) -> Report:
    """Holds the figures against the checks; one that fails makes the report fail."""
    checks: list[dict[str, Any]] = [{"name": check.name, "ok": check.holds(figures)} for check in report_type.checks]
    failed = [check["name"] for check in checks if not check["ok"]]
    if failed:
        detail = f"The {report_type.title.lower()} does not add up: {', '.join(failed)}."
        raise Problem("report-failed", detail, {"check": failed[0], "checks": checks})
    return Report(
        rows=figures["rows"],
        currency=currency,
        exponent=exponent,
        totals={name: figures[name] for name in report_type.totals},
        checks=checks,
    )
