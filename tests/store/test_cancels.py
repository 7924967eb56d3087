"""Cancel requests go on to their end, even where the connection of the statement is closed meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from reportsim.lifecycle import open_pool
from reportsim.store.connection import finish_cancels
from reportsim.store.pool import Connection, connect, create_pool
from tests.engine.jobs import until
from tests.engine.line import Line, line_to
from tests.pooler import pooled

CANCEL_REQUEST = (80877102).to_bytes(4, "big")
SLOW = "SELECT pg_sleep(60) AS to_be_cancelled"
RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = $1"
END = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query = $1"


@dataclass
class Relay:
    """Passes on what a line carries, and holds cancel requests back until they may go on."""

    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    given_up: int = 0
    ended: int = 0

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Takes one cancel request, and closes its connection as the server does: once it may go on."""
        await reader.readexactly(8)
        self.held += 1
        waits = [asyncio.create_task(self.may_go_on.wait()), asyncio.create_task(reader.read())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        self.given_up += not self.may_go_on.is_set()
        await self.may_go_on.wait()
        for wait in waits:
            wait.cancel()
        self.ended += 1
        writer.close()


@pytest.fixture
def relay() -> Relay:
    return Relay()


@pytest.fixture
async def line(server_dsn: str, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    """A line to the server that holds cancel requests back."""
    whole = Line._relay

    async def pass_on(self: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(8)
        if head[4:] == CANCEL_REQUEST:
            await relay.hold(reader, writer)
        else:
            reader._buffer[:0] = head  # type: ignore[attr-defined]
            await whole(self, reader, writer)

    monkeypatch.setattr(Line, "_relay", pass_on)
    async with line_to(server_dsn) as made:
        # A request in TLS could not be told from others.
        made.dsn += f"{'&' if '?' in made.dsn else '?'}sslmode=disable"
        yield made
        relay.may_go_on.set()


@pytest.fixture
async def beside(server_dsn: str) -> AsyncIterator[Connection]:
    """A connection that looks at what the server does; statements that were not cancelled are ended with it."""
    connection = await connect(server_dsn)
    yield connection
    await connection.execute(END, SLOW)
    await connection.close()


async def run_slowly(connection: Connection, beside: Connection) -> "asyncio.Task[Any]":
    """A statement that the server is running."""
    running = asyncio.create_task(connection.fetch(SLOW))
    await until(lambda: beside.fetchval(RUNNING, SLOW))
    return running


async def cancel_and_terminate(address: str, relay: Relay, beside: Connection) -> None:
    """Cancels a statement, and closes its connection while the cancel request is under way."""
    connection = await connect(address)
    running = await run_slowly(connection, beside)
    running.cancel()
    await until(lambda: asyncio.sleep(0, relay.held))
    connection.terminate()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_request_is_not_given_up_with_its_connection(line: Line, relay: Relay, beside: Connection) -> None:
    await cancel_and_terminate(line.dsn, relay, beside)
    finishing = asyncio.create_task(finish_cancels(10))
    done, _ = await asyncio.wait([finishing], timeout=0.1)
    assert not done
    relay.may_go_on.set()
    await finishing
    assert (relay.held, relay.given_up, relay.ended) == (1, 0, 1)


async def test_a_connection_terminated_before_its_request_has_begun_sends_none(
    line: Line, relay: Relay, beside: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await connect(line.dsn)
    running = await run_slowly(connection, beside)
    running.cancel()
    await asyncio.sleep(0)
    connection.terminate()
    with pytest.raises(asyncio.CancelledError):
        await running
    await finish_cancels(10)
    assert (relay.held, caplog.records) == (0, [])


async def test_a_pool_that_is_closed_has_no_request_under_way(
    line: Line, relay: Relay, beside: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportsim.lifecycle.POOL_CLOSE_TIMEOUT_S", 5.0)
    pool = create_pool(line.dsn, size=1, statement_cache=0)
    async with open_pool(pool):
        await cancel_and_terminate(line.dsn, relay, beside)
        asyncio.get_running_loop().call_later(0.1, relay.may_go_on.set)
    assert (relay.given_up, relay.ended) == (0, 1)


async def test_a_pooler_survives_connections_that_are_closed_during_a_cancellation(
    line: Line, relay: Relay, beside: Connection
) -> None:
    """PgBouncer 1.18 exits when a cancel request that it has passed on is given up: "bad client state"."""
    with pooled(line.dsn) as address:
        await cancel_and_terminate(address, relay, beside)
        await asyncio.wait([asyncio.create_task(finish_cancels(10))], timeout=0.1)
        relay.may_go_on.set()
        await until(lambda: asyncio.sleep(0, relay.ended))
        connection = await connect(address)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
