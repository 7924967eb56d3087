"""Importing a ledger from a file: COPY into temporary tables, checks over whole sets, one sorted insert.

All of it is one transaction, so that it works through a connection pooler, leaves nothing behind when it fails, and
nobody sees half of it. The file is read in the caller's thread: this is for the command line, not for the service.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from reportsim.core.model import Ledger
from reportsim.store import ledger_totals
from reportsim.store.ledger_import.balance import refuse_unbalanced
from reportsim.store.ledger_import.checks import ACCOUNTS, Summary, check
from reportsim.store.ledger_import.columns import LARGEST
from reportsim.store.ledger_import.csv_reader import CsvFile, Fault, FaultCollector, Faulty, Irregular
from reportsim.store.ledger_import.currencies import EXPONENTS, USUAL
from reportsim.store.ledger_import.currencies import exponent as exponent_of
from reportsim.store.ledger_import.decimals import Decimals, find_decimals
from reportsim.store.ledger_import.formats import (
    ACCOUNTS_HEADER,
    Format,
    accounts_format,
    hledger_commodity,
    hledger_format,
    is_hledger,
    own_format,
    require_header,
)
from reportsim.store.ledger_import.refusal import LONG_S
from reportsim.store.ledgers import LedgerExists, finite
from reportsim.store.pool import Connection

DEFAULT_CURRENCY: Final = "EUR"

# The temporary tables of a million lines are read several times. Their buffers cannot be changed once there are any, as
# in the session of a pooler.
SETUP: Final = """
SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = '128MB';
SELECT set_config('temp_buffers', '256MB', true) WHERE pg_my_temp_schema() = 0
"""
LEDGER: Final = "ledger_id, name, currency, exponent, version, first_on, last_on, lines"
SELECT_LEDGER: Final = f"SELECT {LEDGER} FROM ledgers WHERE name = $1"
LOCK_LEDGER: Final = f"{SELECT_LEDGER} FOR NO KEY UPDATE"
INSERT_LEDGER: Final = f"""
INSERT INTO ledgers (name, currency, exponent, first_on, last_on, lines)
VALUES ($1, $2, $3, {finite("$4")}, {finite("$5")}, $6)
RETURNING {LEDGER}
"""
UPDATE_LEDGER: Final = f"""
UPDATE ledgers SET version = version + 1, first_on = least(first_on, {finite("$2")}),
    last_on = greatest(last_on, {finite("$3")}), lines = lines + $4
WHERE ledger_id = $1 RETURNING {LEDGER}
"""
Progress = Callable[[str, int], None]


class ImportRefused(Exception):
    """The import does not fit the ledger; the message says why, nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What is wanted: the entries of a file in a ledger, new unless `append`."""

    path: Path
    ledger: str
    accounts: Path | None = None
    currency: str | None = None
    decimals: int | None = None
    skip_virtual: bool = False
    append: bool = False


async def import_ledger(connection: Connection, wanted: Import, progress: Progress = lambda step, size: None) -> Ledger:
    """Imports a file, all or nothing, and returns the ledger as it is then.

    `progress` is told each step (reading, checking, writing) and the number of bytes just read.

    Raises:
        Faulty: the files have faults; each is known with its line.
        LedgerExists: the name is taken, and nothing is to be appended.
        ImportRefused: there is no ledger to append to, or it is in another currency.
    """
    ledger = await find(connection, wanted)
    file, chart = open_files(wanted)
    kind = choose_format(file, wanted, ledger)
    async with connection.transaction():
        await connection.execute(SETUP)
        collector = FaultCollector()
        if chart is not None:
            with collector.collecting():
                await load(connection, chart, accounts_format(), progress)
        with collector.collecting():
            await load(connection, file, kind, progress)
        if collector.faults and not collector.more and not kind.hledger:
            with collector.collecting():
                refuse_unbalanced(file, kind)
        collector.refuse()
        progress("checking", 0)
        locked = await connection.fetchrow(LOCK_LEDGER, wanted.ledger, timeout=LONG_S) if ledger else None
        if ledger and (locked is None or locked["ledger_id"] != ledger.ledger_id):
            raise ImportRefused(f"the ledger {wanted.ledger} was deleted meanwhile")
        ledger = Ledger(**locked) if locked else None
        entries = await check(connection, kind, file, chart, ledger)
        if ledger and kind.hledger:
            await require_numbers(connection, ledger)
        progress("writing", 0)
        return await write(connection, kind, wanted, ledger, entries)


async def find(connection: Connection, wanted: Import) -> Ledger | None:
    """The ledger to append to; None, and the name free, when a new one is wanted."""
    row = await connection.fetchrow(SELECT_LEDGER, wanted.ledger)
    if row is None and wanted.append:
        raise ImportRefused(f"there is no ledger {wanted.ledger} to append to")
    if row is not None and not wanted.append:
        raise LedgerExists(wanted.ledger)
    return None if row is None else Ledger(**row)


def open_files(wanted: Import) -> tuple[CsvFile, CsvFile | None]:
    """The file of entries and that of accounts, with right headers.

    Raises:
        Faulty: One of them, or both, cannot be read or have another header.
    """
    file = chart = None
    collector = FaultCollector()
    if wanted.accounts is not None:
        with collector.collecting():
            chart = CsvFile(wanted.accounts)
            require_header(chart, ACCOUNTS_HEADER)
    with collector.collecting():
        file = CsvFile(wanted.path)
        is_hledger(file)
    collector.refuse()
    assert file is not None
    return file, chart


def choose_format(file: CsvFile, wanted: Import, ledger: Ledger | None) -> Format:
    """The format by the header, in the one currency that the file, the command and the ledger agree on."""
    hledger = is_hledger(file)
    found = hledger_commodity(file) if hledger else None
    currency = wanted.currency or (ledger.currency if ledger else None) or found or DEFAULT_CURRENCY
    if found and found != currency:
        raise ImportRefused(f"{file.path} is in {found}, not in {currency}")
    if ledger and ledger.currency != currency:
        raise ImportRefused(f"the ledger {ledger.name} is in {ledger.currency}, not in {currency}")
    if ledger and wanted.decimals not in {None, ledger.exponent}:
        raise ImportRefused(f"the ledger {ledger.name} has {ledger.exponent} decimals, not {wanted.decimals}")
    decimals = ledger.exponent if ledger else wanted.decimals
    if decimals is None and currency in EXPONENTS:
        decimals = exponent_of(currency)
    seen = Decimals(USUAL, grouped=False)
    if decimals is None or decimals != EXPONENTS.get(currency):
        seen = find_decimals(file, ("amount",) if hledger else ("debit", "credit"))
    decimals = seen.most if decimals is None else decimals
    if not hledger:
        return own_format(currency, decimals)
    return hledger_format(
        file.header,
        currency,
        decimals,
        bare=not found,
        grouped=seen.grouped and decimals > USUAL,
        skip_virtual=wanted.skip_virtual,
    )


async def load(connection: Connection, file: CsvFile, kind: Format, progress: Progress) -> None:
    """Reads a file into its table; whatever is wrong with single rows ends it."""
    irregular = False

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal irregular
        try:
            for piece in file.pieces(kind.layout):
                progress("reading", len(piece))
                yield piece
        except Irregular:
            irregular = True  # a clean end of COPY, where an exception would have asyncpg cancel it on the side

    reason = "not as it should be"
    await connection.execute(kind.create)
    try:
        # A savepoint, so that the faults of another file can be found afterwards.
        async with connection.transaction():
            await connection.copy_to_table(
                kind.table,
                source=pieces(),
                columns=kind.columns,
                format="csv",
                force_null=kind.nullable or None,
                force_not_null=[column for column in kind.columns if column not in kind.nullable],
                timeout=LONG_S,
            )
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        irregular, reason = True, str(error)
    if irregular:
        progress("finding the faults", 0)
        raise Faulty(file.faults(kind.layout) or [Fault(file.path, 0, reason)])


async def write(
    connection: Connection, kind: Format, wanted: Import, ledger: Ledger | None, entries: Summary
) -> Ledger:
    """Writes what was checked: the ledger or its next version, accounts, entries, balances."""
    window = (entries.first_on, entries.last_on, entries.lines)
    try:
        if ledger is None:
            new = (wanted.ledger, kind.currency, kind.exponent)
            row = await connection.fetchrow(INSERT_LEDGER, *new, *window, timeout=LONG_S)
        else:
            row = await connection.fetchrow(UPDATE_LEDGER, ledger.ledger_id, *window)
    except asyncpg.UniqueViolationError:
        raise LedgerExists(wanted.ledger) from None
    assert row is not None
    written = Ledger(**row)
    snapshot = (written.ledger_id, written.version)
    await connection.execute(insert_accounts(), *snapshot, timeout=LONG_S)
    if kind.hledger:
        await connection.execute(keep_full_names(), written.ledger_id, timeout=LONG_S)
    await connection.execute(insert_postings(kind), *snapshot, timeout=LONG_S)
    await ledger_totals.write(connection, *snapshot, entries.lines)
    return written


async def has_investing(connection: Connection, ledger: Ledger) -> bool:
    """Whether the cash flow statement of a ledger can have anything under investing activities."""
    statement = "SELECT EXISTS (SELECT 1 FROM accounts WHERE ledger_id = $1 AND cf_section = 'investing')"
    return bool(await connection.fetchval(statement, ledger.ledger_id))


async def require_numbers(connection: Connection, ledger: Ledger) -> None:
    """Refuses a file of hledger whose transactions cannot be numbered on in the ledger."""
    if await connection.fetchval(last_number(), ledger.ledger_id, timeout=LONG_S) > LARGEST:
        raise ImportRefused(f"the ledger {ledger.name} has no transaction numbers left for those of the file")


def last_number() -> str:
    """The number that the last transaction of a file of hledger would have in the ledger."""
    return """
SELECT coalesce((SELECT max(transaction_id) FROM postings WHERE ledger_id = $1), 0)::numeric
    + (SELECT max(transaction_id) FROM import_entries)"""


def keep_full_names() -> str:
    """Notes which account of hledger each code stands for."""
    return """
UPDATE accounts AS a SET full_name = s.account FROM import_stated AS s
WHERE a.ledger_id = $1 AND a.code = s.code AND a.full_name IS NULL"""


def insert_accounts() -> str:
    """The accounts that the ledger does not have yet, numbered on."""
    return f"""
INSERT INTO accounts (ledger_id, account_id, code, name, type, is_cash, cf_section, version)
SELECT $1, taken.last + row_number() OVER (ORDER BY code), code, name, type, is_cash, cf_section, $2
FROM {ACCOUNTS} AS account,
    (SELECT coalesce(max(account_id), 0) AS last FROM accounts WHERE ledger_id = $1) AS taken
WHERE code NOT IN (SELECT code FROM accounts WHERE ledger_id = $1)"""


def insert_postings(kind: Format) -> str:
    """The entries, sorted: among shuffled dates the BRIN index finds nothing.

    Every file of hledger numbers its transactions from 1, so they are numbered on in the ledger.
    """
    last = "(SELECT coalesce(max(transaction_id), 0) FROM postings WHERE ledger_id = $1)"
    number = f"transaction_id + {last}" if kind.hledger else "transaction_id"
    return f"""
INSERT INTO postings (ledger_id, transaction_id, line_no, account_id, version, posted_on, amount, description)
SELECT $1, {number}, line_no, account_id, $2, date, amount, description
FROM {kind.entries} AS entries JOIN (
    SELECT DISTINCT account, account_id FROM import_stated JOIN accounts USING (code) WHERE ledger_id = $1) AS ids
    USING (account)
ORDER BY transaction_id, line_no"""
