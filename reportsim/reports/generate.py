"""How a report is made: one snapshot, one row of figures, one COPY into the file."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files import Draft
from reportsim.reports.report_type import ReportType
from reportsim.reports.sql import Job
from reportsim.store.pool import Connection, Pool

# One report takes one core: parallel workers would make concurrent reports bend each other, and what is measured.
BEGIN: Final = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; SET LOCAL work_mem = '64MB';
SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL statement_timeout = 0
"""
SELECT_LEDGER: Final = "SELECT currency, exponent FROM ledgers WHERE ledger_id = $1"
TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that passed its checks; the file's hash and size are the draft's."""

    rows: int
    currency: str
    exponent: int
    totals: dict[str, int]
    checks: list[dict[str, Any]]


@contextlib.asynccontextmanager
async def snapshot(connection: Connection) -> AsyncIterator[None]:
    """A read-only transaction set up for reports, in two round trips; whatever disturbs it ends the connection."""
    try:
        await connection.execute(BEGIN)
        yield
        await connection.execute("ROLLBACK")
    except BaseException:
        connection.terminate()
        raise


async def generate(pool: Pool, request: Request, draft: Draft) -> Report:
    """Writes the report of a request into a draft.

    Raises:
        Problem: `report-failed`, when the ledger is gone or a check does not hold; it names the check.
        asyncpg.PostgresError, OSError: the database is away; the report can be tried again.
    """
    report_type = CATALOG[request.input_payload["report_type"]]
    async with pool.acquire(timeout=TIMEOUT_S) as connection, snapshot(connection):
        ledger = await connection.fetchrow(SELECT_LEDGER, request.ledger_id)
        if ledger is None:
            raise Problem("report-failed", "The ledger was deleted.")
        job = Job(
            ledger_id=request.ledger_id,
            version=request.ledger_version,
            exponent=ledger["exponent"],
            parameters=request.input_payload,
            csv_guard=request.csv_guard,
        )
        found = await connection.fetchrow(report_type.figures(job), timeout=TIMEOUT_S)
        figures = {name: int(value or 0) for name, value in (found or {}).items()}
        tag = await connection.copy_from_query(
            report_type.rows(job), output=draft.write, format="csv", header=True, timeout=TIMEOUT_S
        )
    rows = int(tag.rpartition(" ")[2])
    return conclude(report_type, {**figures, "rows": rows}, ledger)


def conclude(report_type: ReportType, figures: Mapping[str, int], ledger: asyncpg.Record) -> Report:
    """Holds the figures against the checks; one that fails makes the report fail."""
    checks: list[dict[str, Any]] = [{"name": check.name, "ok": check.holds(figures)} for check in report_type.checks]
    failed = [check["name"] for check in checks if not check["ok"]]
    if failed:
        detail = f"The {report_type.title.lower()} does not add up: {', '.join(failed)}."
        raise Problem("report-failed", detail, {"check": failed[0], "checks": checks})
    return Report(
        rows=figures["rows"],
        currency=ledger["currency"],
        exponent=ledger["exponent"],
        totals={name: figures[name] for name in report_type.totals},
        checks=checks,
    )
