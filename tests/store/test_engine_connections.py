"""The engine's own connections: kept between statements, and few when a rush is over."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from reportsim.store import engine_connections as module
from reportsim.store.engine_connections import EngineConnections
from reportsim.store.errors import DatabaseTimeout
from reportsim.store.pool import Connection
from tests.engine.jobs import until


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
