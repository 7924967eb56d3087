"""The engine's own connections: kept between statements, and few when a rush is over."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from reportsim.store import engine_connections as module
from reportsim.store import ledgers
from reportsim.store import requests as store
from reportsim.store.engine_connections import EngineConnections, open_connections
from reportsim.store.errors import DatabaseTimeout
from reportsim.store.migrate import migrate
from reportsim.store.pool import Connection, connect
from tests.engine.jobs import until
from tests.store.databases import empty_database
from tests.store.rows import LEASE, ME, end_of, new


@pytest.fixture
async def lines(dsn: str) -> AsyncIterator[EngineConnections]:
    # A cancelled statement ends in its own time, which a busy machine may make long.
    made = EngineConnections(dsn, statement_cache=0, cancel_timeout=20)
    yield made
    made.close()


async def rush(lines: EngineConnections, count: int) -> None:
    await asyncio.gather(*(lines.fetch("SELECT pg_sleep(0.05)") for _ in range(count)))


async def test_what_a_rush_left_is_closed_once_it_has_been_idle(
    lines: EngineConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rush(lines, module.MIN_IDLE + 3)
    rushed = len(lines._idle)
    assert rushed > module.MIN_IDLE
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    await lines.fetch("SELECT 1")
    assert len(lines._idle) == module.MIN_IDLE
    assert not any(connection.is_closed() for connection, _ in lines._idle)


async def test_a_connection_is_used_again(lines: EngineConnections) -> None:
    first = await lines.fetch("SELECT pg_backend_pid() AS pid")
    assert await lines.fetch("SELECT pg_backend_pid() AS pid") == first


async def test_no_more_than_the_bound_are_open_and_nobody_is_turned_away(dsn: str, connection: Connection) -> None:
    lines = EngineConnections(dsn, statement_cache=0, size=2)
    pids = await asyncio.gather(*(lines.fetch("SELECT pg_backend_pid(), pg_sleep(0.02)") for _ in range(10)))
    assert len({row[0]["pg_backend_pid"] for row in pids}) == 2
    lines.close()


RUNNING = (
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%slow%' AND pid <> pg_backend_pid()"
)
SLOW = "SELECT pg_sleep(60) AS slow"


async def nothing_runs(connection: Connection) -> bool:
    return bool(await connection.fetchval(RUNNING) == 0)


async def copy_slowly(lines: EngineConnections) -> None:
    async def write(_: bytes) -> None:
        pass

    async with lines.acquire() as connection:
        await connection.copy_from_query(SLOW, output=write)


async def in_a_transaction(lines: EngineConnections) -> None:
    async with lines.acquire() as connection:
        await connection.execute("BEGIN READ ONLY")
        await connection.execute(SLOW)


@pytest.mark.parametrize(
    "run", [lambda lines: lines.fetch(SLOW), copy_slowly, in_a_transaction], ids=["statement", "copy", "transaction"]
)
async def test_a_statement_whose_caller_was_cancelled_is_over_before_its_place_is_free(
    lines: EngineConnections, connection: Connection, run: Callable[[EngineConnections], Coroutine[Any, Any, Any]]
) -> None:
    running = asyncio.create_task(run(lines))
    await until(lambda: connection.fetchval(RUNNING))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await nothing_runs(connection)


async def test_so_is_one_that_took_too_long(lines: EngineConnections, connection: Connection) -> None:
    with pytest.raises(DatabaseTimeout):
        async with lines.acquire() as line:
            await line.fetch(SLOW, timeout=0.2)
    assert await nothing_runs(connection)


async def test_one_cancelled_twice_is_cancelled_on_the_server_all_the_same(
    lines: EngineConnections, connection: Connection
) -> None:
    running = asyncio.create_task(lines.fetch(SLOW))
    await until(lambda: connection.fetchval(RUNNING))
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: nothing_runs(connection))


async def test_a_server_that_became_read_only_is_left(dsn: str) -> None:
    lines = EngineConnections(dsn, statement_cache=0)
    before = await lines.fetch("SELECT pg_backend_pid() AS pid")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await lines.fetch("DO $$ BEGIN RAISE SQLSTATE '25006'; END $$")
    assert await lines.fetch("SELECT pg_backend_pid() AS pid") != before
    lines.close()


READ = """
SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'requests')
    + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'requests') AS read
"""


async def test_what_was_planned_for_a_small_table_does_not_read_it_whole_once_it_has_grown(server_dsn: str) -> None:
    """On a database of its own, since what others have running on a shared one would keep what has ended in indexes."""
    async with empty_database(server_dsn) as dsn:
        connection = await connect(dsn)
        await migrate(connection)
        for name in ("demo", "tiny"):
            await ledgers.generate(connection, name, lines=40, seed=42)
        await connection.close()
        lines = open_connections(dsn, None, 100).engine
        try:
            await grow(lines)
        finally:
            lines.close()


async def grow(lines: EngineConnections) -> None:
    """Accepts and ends requests in a table that is empty at first, until each reads little of it."""

    async def live(count: int = 1) -> None:
        """The lives of so many requests: accepted, begun from memory, and ended."""
        rows = [new(owner=ME, client=b"client") for _ in range(count)]
        found = await store.insert(lines, LEASE, rows, store.Waiting(10_000, 10_000.0), frozenset({b"client"}))
        assert all(found.inserted)
        assert all(await store.finish(lines, ME, LEASE, [end_of(row.request, tries=1) for row in rows]))

    async def read() -> int:
        await lines.fetch("SELECT pg_stat_force_next_flush()")
        return int((await lines.fetch(READ))[0]["read"])

    async def reads_little() -> bool:
        before = await read()
        await live()
        return await read() - before < 100

    await lines.fetch("ALTER TABLE requests SET (autovacuum_enabled = off)")
    for _ in range(20):
        await live()
    await live(2_000)
    # Indexes lead to what has ended until nobody can see it any more.
    await until(reads_little)
