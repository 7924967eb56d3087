"""How a report is made: by one prepared statement that returns the text of the file and the figures.

Only a report of too many lines for that is streamed: the figures of the lines, then the lines by COPY. All see the same
entries without a transaction around them, since the version of the ledger says which those are. When the ledger is
deleted between them, the checks fail, and then it is looked for.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

import asyncpg

from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.reports.catalog import select_report
from reportsim.reports.files.csv_text import count_records, last_record
from reportsim.reports.files.draft import Draft
from reportsim.reports.report_type import COMPARED, Listing, ReportType
from reportsim.store.pool import Connection, Lends

# A long listing gets memory to sort in, and no compiler. That one report takes one core is said by the table itself:
# parallel workers would make concurrent reports bend each other, and what is measured.
BEGIN: Final = """
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL jit = off;
SET LOCAL work_mem = '64MB'; SET LOCAL statement_timeout = 0
"""
SELECT_LEDGER: Final = "SELECT 1 FROM ledgers WHERE ledger_id = $1"
TIMEOUT_S: Final = 600.0
# What is hashed and written at once: a millisecond of the event loop.
PIECE: Final = 1 << 18
PARAMETER: Final = re.compile(r"\$([1-9])")


class LedgerDeleted(Exception):
    """The ledger of a request is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that passed its checks; the file's hash and size are the draft's.

    Attributes:
        compared_totals: the totals of the days that it is compared with, where it is.
    """

    rows: int
    currency: str
    exponent: int
    totals: dict[str, int]
    compared_totals: dict[str, int]
    checks: list[dict[str, Any]]


async def generate(connections: Lends, request: Request, draft: Draft) -> Report:
    """Writes the report of a request into a draft.

    Raises:
        LedgerDeleted: there is nothing to report on any more.
        Problem: `report-failed`, when it takes too long, or when a check does not hold; it names the check.
        asyncpg.PostgresError, DatabaseUnavailable: the database is away; the report can be tried again.
    """
    parameters = request.input_payload
    report_type = select_report(parameters)
    arguments = (request.ledger_id, request.ledger_version, request.csv_guard, *report_type.arguments(parameters))
    async with connections.acquire() as connection:
        found = await select(connection, report_type, arguments)
        figures = integers(found)
        if found["text"] is None:
            assert report_type.listing is not None
            figures |= await stream(connection, report_type.listing, arguments, draft)
        else:
            text = found["text"].encode()
            figures["rows"] = count_records(text)
            await write(draft, ",".join(report_type.columns(parameters)).encode() + b"\n" + text)
    if figures["rows"] and report_type.balance_column is not None:
        last = Decimal(last_record(draft.last)[report_type.balance_column])
        figures["last_balance"] = int(last.scaleb(found["exponent"]))
    try:
        return conclude(report_type, figures, found["currency"], found["exponent"])
    except Problem:
        # A ledger that is deleted between two statements has figures and no rows.
        async with connections.acquire() as connection:
            if await connection.fetchval(SELECT_LEDGER, request.ledger_id) is None:
                raise LedgerDeleted from None
        raise


async def select(connection: Connection, report_type: ReportType, arguments: tuple[Any, ...]) -> asyncpg.Record:
    """The row that a report's statement returns."""
    with in_time():
        found = await connection.fetchrow(report_type.statement, *arguments, timeout=TIMEOUT_S)
    if found is None:
        raise LedgerDeleted
    return found


async def write(draft: Draft, content: bytes) -> None:
    """Writes a text, in pieces that let others use the event loop in between."""
    for start in range(0, len(content), PIECE):
        if start:
            await asyncio.sleep(0)
        draft.add(content[start : start + PIECE])
    draft.last = content


async def stream(connection: Connection, listing: Listing, arguments: tuple[Any, ...], draft: Draft) -> dict[str, int]:
    """Streams the lines into a draft; returns their figures, with `rows`."""
    async with prepared_for_much(connection):
        with in_time():
            found = await connection.fetchrow(with_literals(listing.figures, arguments), timeout=TIMEOUT_S)
            tag = await connection.copy_from_query(
                with_literals(listing.statement, arguments),
                output=draft.write,
                format="csv",
                header=True,
                timeout=TIMEOUT_S,
            )
    return {**integers(found), "rows": int(tag.rpartition(" ")[2])}


def integers(row: asyncpg.Record | None) -> dict[str, int]:
    """The figures of a row: all columns that are numbers."""
    assert row is not None
    texts = {"currency", "exponent", "text"}
    return {name: int(value or 0) for name, value in row.items() if name not in texts}


@contextlib.asynccontextmanager
async def prepared_for_much(connection: Connection) -> AsyncIterator[None]:
    """A transaction set up for many entries; what disturbs it leaves it open, to be closed."""
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


def with_literals(statement: str, arguments: tuple[Any, ...]) -> str:
    """A statement with its parameters written into the text, since COPY takes none."""
    return PARAMETER.sub(lambda match: literal(arguments[int(match[1]) - 1]), statement)


def literal(value: date | str | int | bool | list[str] | None) -> str:
    """A value as SQL. The calendar's ends are infinities, as asyncpg sends them."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case date():
            name = {date.min: "-infinity", date.max: "infinity"}.get(value, value.isoformat())
            return f"DATE '{name}'"
        case str():
            if "\0" in value:
                raise ValueError("text with NUL")
            return "'" + value.replace("'", "''") + "'"
        case list():
            return f"ARRAY[{', '.join(literal(item) for item in value)}]"


def conclude(report_type: ReportType, figures: Mapping[str, int], currency: str, exponent: int) -> Report:
    """Holds the figures against the checks; one that fails makes the report fail."""
    checks: list[dict[str, Any]] = [
        {"name": check.name, "ok": check.holds(figures)} for check in report_type.checks if check.applies(figures)
    ]
    failed = [check["name"] for check in checks if not check["ok"]]
    if failed:
        detail = f"The {report_type.title.lower()} does not add up: {', '.join(failed)}."
        raise Problem("report-failed", detail, {"check": failed[0], "checks": checks})
    return Report(
        rows=figures["rows"],
        currency=currency,
        exponent=exponent,
        totals={name: figures[name] for name in report_type.totals},
        compared_totals={name: figures[COMPARED + name] for name in report_type.compared_totals},
        checks=checks,
    )
