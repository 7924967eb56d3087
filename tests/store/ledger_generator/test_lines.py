"""Lines that one connection makes and another writes: the same as of one statement, all or nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date

import asyncpg
import pytest

from reportsim.core.model import Ledger
from reportsim.store import ledgers
from reportsim.store.errors import LOST
from reportsim.store.pool import Connection, connect
from tests.engine.jobs import until
from tests.pooler import pooled

MANY = 300_000
ENTRIES = """
SELECT transaction_id, line_no, account_id, version, posted_on, amount, description
FROM postings WHERE ledger_id = $1 ORDER BY ctid
"""
# One of the lines is refused while later ones are being made.
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION USING ERRCODE = 'RS001', MESSAGE = 'refused'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON postings FOR EACH ROW WHEN (NEW.transaction_id = 5000) EXECUTE FUNCTION refuse()
"""


@pytest.fixture
async def maker(dsn: str) -> AsyncIterator[Connection]:
    connection = await connect(dsn)
    yield connection
    await connection.close()


async def generate(connection: Connection, maker: Connection | None, *, lines: int = 40, seed: int = 1) -> Ledger:
    return await ledgers.generate(connection, "made", lines=lines, seed=seed, maker=maker)


async def nothing_is_left(connection: Connection) -> None:
    assert "made" not in {ledger.name for ledger in await ledgers.all_ledgers(connection)}
    known = "SELECT ledger_id FROM ledgers"
    assert await connection.fetchval(f"SELECT count(*) FROM postings WHERE ledger_id NOT IN ({known})") == 0


async def it_goes_on(connection: Connection) -> None:
    """Nothing is left, and the same connection writes the next ledger."""
    await nothing_is_left(connection)
    await generate(connection, None)
    assert await ledgers.delete(connection, "made")


async def halfway(maker: Connection, action: Callable[[], Awaitable[object]]) -> None:
    """Does something when the maker is at work."""
    await until(lambda: asyncio.sleep(0, maker.is_in_transaction()))
    await asyncio.sleep(0.1)
    await action()


@pytest.mark.parametrize("lines", [4, 40, 30_000])
async def test_two_connections_write_the_entries_that_one_writes(
    connection: Connection, maker: Connection, lines: int
) -> None:
    found = []
    for other in (None, maker):
        ledger = await generate(connection, other, lines=lines, seed=7)
        found.append([tuple(row) for row in await connection.fetch(ENTRIES, ledger.ledger_id)])
        assert await ledgers.delete(connection, "made")
    assert sorted(found[0]) == sorted(found[1])
    assert len(found[0]) == lines


async def test_both_may_be_behind_a_pooler(connection: Connection, dsn: str) -> None:
    with pooled(dsn) as address:
        first, second = await connect(address), await connect(address)
        for _ in range(2):
            ledger = await generate(first, second, lines=30_000, seed=7)
            count = "SELECT count(*) FROM postings WHERE ledger_id = $1"
            assert await connection.fetchval(count, ledger.ledger_id) == 30_000
            assert await ledgers.delete(first, "made")
        assert await second.fetchval("SHOW work_mem") == await connection.fetchval("SHOW work_mem")
        await first.close()
        await second.close()


@pytest.mark.parametrize("first_on", [date(1, 1, 1), date(9999, 12, 1)])
async def test_the_ends_of_the_calendar_are_days_for_both(
    connection: Connection, maker: Connection, first_on: date
) -> None:
    for other in (None, maker):
        await ledgers.generate(connection, "made", lines=40, seed=1, first_on=first_on, days=31, maker=other)
        assert await ledgers.delete(connection, "made")


async def test_lines_that_cannot_be_made_leave_nothing(connection: Connection, maker: Connection) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await generate(connection, maker, seed=2**62)
    assert maker.is_closed()
    await it_goes_on(connection)


async def test_a_maker_that_is_lost_leaves_nothing(connection: Connection, maker: Connection, dsn: str) -> None:
    killer = await connect(dsn)
    pid = await maker.fetchval("SELECT pg_backend_pid()")
    killing = asyncio.ensure_future(halfway(maker, lambda: killer.execute("SELECT pg_terminate_backend($1)", pid)))
    with pytest.raises(LOST):
        await generate(connection, maker, lines=MANY)
    await killing
    await killer.close()
    await nothing_is_left(connection)
    with pytest.raises(LOST):
        await generate(connection, maker)
    await nothing_is_left(connection)


async def test_lines_that_cannot_be_written_leave_nothing(connection: Connection, maker: Connection) -> None:
    await connection.execute(REFUSE)
    try:
        with pytest.raises(asyncpg.PostgresError, match="refused"):
            await generate(connection, maker, lines=MANY)
    finally:
        await connection.execute("DROP FUNCTION refuse CASCADE")
    await it_goes_on(connection)


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.01, 0.05, 0.1, 0.3])
async def test_a_generation_that_is_cancelled_leaves_nothing(
    connection: Connection, maker: Connection, after_s: float
) -> None:
    generating = asyncio.ensure_future(generate(connection, maker, lines=MANY))
    await until(lambda: asyncio.sleep(0, maker.is_in_transaction()))
    await asyncio.sleep(after_s)
    generating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await generating
    assert maker.is_closed()
    await it_goes_on(connection)
