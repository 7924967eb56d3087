"""Ledgers that a test makes up, in the database and on the oracle's side, and reports made of them."""

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from reportsim.core.identifiers import UUID7Generator
from reportsim.core.model import Mode, Request, Status
from reportsim.reports.catalog import CATALOG, select_report
from reportsim.reports.files.folder import ReportFiles
from reportsim.reports.generate import Report, generate
from reportsim.store import ledger_totals, ledgers
from reportsim.store.ledgers import finite
from reportsim.store.pool import Connection, Pool
from tests.reports import oracle
from tests.reports.oracle import Account, Book, Entry

DAY = timedelta(days=1)
CURRENCY = {0: "JPY", 2: "EUR", 3: "KWD", 4: "UYW"}

COMPARISONS: list[dict[str, Any]] = [{"compare": "previous_period"}, {"compare": "previous_year"}]

CASH: list[dict[str, Any]] = [{"cash_only": True}]

new_id = UUID7Generator()


def transaction(id: int, day: date, *lines: tuple[str, int], description: str = "") -> list[Entry]:
    """The entries of one transaction; they must balance."""
    assert sum(amount for _, amount in lines) == 0
    return [
        Entry(transaction_id=id, line_no=number, code=code, day=day, amount=amount, description=description)
        for number, (code, amount) in enumerate(lines, start=1)
    ]


def entries(*transactions: list[Entry]) -> list[Entry]:
    """The entries of many transactions."""
    return list(itertools.chain(*transactions))


async def store(connection: Connection, book: Book, name: str | None = None) -> int:
    """Writes a book as a ledger; accounts get their numbers in the order of the book. Returns the ledger's id."""
    days = [entry.day for entry in book.entries] or [date(2025, 1, 1)]
    ledger_id: int = await connection.fetchval(
        ledgers.INSERT_LEDGER,
        name or f"book-{uuid4()}",
        CURRENCY.get(book.exponent, "XTS"),
        book.exponent,
        min(days),
        max(days),
        len(book.entries),
    )
    await store_accounts(connection, ledger_id, book.accounts)
    await store_entries(connection, ledger_id, book)
    return ledger_id


async def store_accounts(
    connection: Connection, ledger_id: int, accounts: Sequence[Account], *, first: int = 1, version: int = 1
) -> None:
    """Writes a chart of accounts."""
    await connection.copy_records_to_table(
        "accounts",
        columns=["ledger_id", "account_id", "code", "name", "type", "is_cash", "cf_section", "version"],
        records=[
            (ledger_id, id, account.code, account.name, account.type, account.is_cash, account.cf_section, version)
            for id, account in enumerate(accounts, start=first)
        ],
    )


async def store_entries(connection: Connection, ledger_id: int, book: Book, *, version: int = 1) -> None:
    """Writes the entries of a book as one version of a ledger."""
    ids = {
        row["code"]: row["account_id"]
        for row in await connection.fetch("SELECT code, account_id FROM accounts WHERE ledger_id = $1", ledger_id)
    }
    await connection.copy_records_to_table(
        "postings",
        columns=[
            "ledger_id",
            "transaction_id",
            "line_no",
            "account_id",
            "version",
            "posted_on",
            "amount",
            "description",
        ],
        records=[
            (ledger_id, e.transaction_id, e.line_no, ids[e.code], version, e.day, e.amount, e.description)
            for e in book.entries
        ],
    )
    # The driver has written the first and the last day of the calendar as infinities.
    await connection.execute(
        f"UPDATE postings SET posted_on = {finite('posted_on')} WHERE ledger_id = $1 AND NOT isfinite(posted_on)",
        ledger_id,
    )
    await ledger_totals.write(connection, ledger_id, version, len(book.entries))
    await connection.execute("UPDATE ledgers SET version = $2 WHERE ledger_id = $1", ledger_id, version)


async def read(connection: Connection, name: str) -> tuple[int, Book]:
    """A ledger of the database as a book."""
    ledger_id, exponent = await connection.fetchrow(
        "SELECT ledger_id, exponent FROM ledgers WHERE name = $1", name
    ) or (0, 0)
    accounts = await connection.fetch(
        "SELECT code, name, type, is_cash, cf_section FROM accounts WHERE ledger_id = $1", ledger_id
    )
    lines = await connection.fetch(
        "SELECT transaction_id, line_no, code, posted_on AS day, amount, description"
        " FROM postings JOIN accounts USING (ledger_id, account_id) WHERE ledger_id = $1",
        ledger_id,
    )
    book = Book(
        accounts=[Account(**row) for row in accounts], entries=[Entry(**row) for row in lines], exponent=exponent
    )
    return ledger_id, book


def request_for(
    ledger_id: int, report_type: str, parameters: Mapping[str, Any], *, version: int = 1, guard: bool = True
) -> Request:
    """A request as a worker holds it."""
    now = datetime.now(UTC)
    plain = {name: value.isoformat() if isinstance(value, date) else value for name, value in parameters.items()}
    return Request(
        id=new_id(),
        mode=Mode.ASYNC,
        status=Status.PROCESSING,
        input_payload={"report_type": report_type, "ledger": "any", **plain},
        endpoint="/api/async",
        ledger_id=ledger_id,
        ledger_version=version,
        report_version=CATALOG[report_type].version,
        csv_guard=guard,
        created_at=now,
        started_at=now,
    )


async def make(pool: Pool, request: Request) -> tuple[bytes, Report]:
    """Makes the report of a request as a worker does."""
    with tempfile.TemporaryDirectory() as folder:
        files = ReportFiles(Path(folder), 1 << 40, small=0)
        with files.draft(request.id) as draft:
            report = await generate(pool, request, draft)
        made = files.path(request.id).read_bytes()
    assert draft.bytes == len(made)
    return made, report


def expected(book: Book, report_type: str, parameters: Mapping[str, Any]) -> bytes:
    """What the oracle makes of the same book."""
    names = {"from": "first", "to": "after"}
    made: bytes = getattr(oracle, report_type)(
        book, **{names.get(name, name): value for name, value in parameters.items()}
    )
    return made


def windows(days: Iterable[date]) -> list[tuple[date, date]]:
    """Intervals that start and end on, just before and just after entry days, and some that hold nothing."""
    known = sorted(set(days))
    first, last = known[0], known[-1]
    middle = known[len(known) // 2]
    return list(
        dict.fromkeys(
            [
                (first, last + DAY),
                (first, first + DAY),
                (last, last + DAY),
                (first, last),
                (first + DAY, last + DAY),
                (first, middle),
                (middle, last + DAY),
                (middle, middle + DAY),
                (first - 400 * DAY, first),
                (last + DAY, last + 400 * DAY),
                (first - 400 * DAY, last + 400 * DAY),
            ]
        )
    )


def parameter_sets(book: Book, report_type: str) -> Iterator[dict[str, Any]]:
    """What a report may be asked for over a book: each option, over intervals of all kinds."""
    days = sorted({entry.day for entry in book.entries})
    if report_type == "balance_sheet":
        around = {day + shift * DAY for day in (days[0], days[len(days) // 2], days[-1]) for shift in (-1, 0, 1)}
        ends = {day.replace(month=12, day=31) for day in days} | {day.replace(month=1, day=1) for day in days}
        for day in sorted(around | ends):
            yield {"as_of": day}
            yield {"as_of": day, "compare": "previous_year"}
        return
    codes = [account.code for account in book.accounts]
    options: Mapping[str, list[dict[str, Any]]] = {
        "trial_balance": [{}, {"include_zero": True}, *COMPARISONS, {"include_zero": True, **COMPARISONS[0]}],
        "income_statement": [{}, {"group_by": "month"}, {"group_by": "quarter"}, *COMPARISONS],
        "cash_flow": [{}, *COMPARISONS],
        "general_ledger": [
            {},
            {"account_codes": codes[::2]},
            {"account_codes": [codes[-1], codes[-1], "no such"]},
            *CASH,
        ],
    }
    for first, after in windows(days):
        if first < after:
            for option in options.get(report_type, [{}]):
                yield {"from": first, "to": after, **option}


async def assert_equal(pool: Pool, ledger_id: int, book: Book, report_type: str, parameters: Mapping[str, Any]) -> None:
    """Holds a report against the oracle's, byte for byte."""
    request = request_for(ledger_id, report_type, parameters, guard=book.guard)
    made, report = await make(pool, request)
    wanted = expected(book, report_type, parameters)
    assert made.decode() == wanted.decode(), f"{report_type} {parameters}"
    assert made == wanted
    assert all(check["ok"] for check in report.checks)
    names = [check.name for check in select_report(request.input_payload).checks]
    if "account_codes" in parameters:
        names.remove("debits_equal_credits")
    assert [check["name"] for check in report.checks] == names


def without_guard(book: Book) -> Book:
    """The same book with formulas left as they are."""
    return replace(book, guard=False)
