"""The engine's own connections: kept between statements, and few when a rush is over."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reportsim.store import lines as module
from reportsim.store.lines import Lines


@pytest.fixture
async def lines(dsn: str) -> AsyncIterator[Lines]:
    made = Lines(dsn, statement_cache=0)
    yield made
    made.close()


async def rush(lines: Lines, count: int) -> None:
    await asyncio.gather(*(lines.fetch("SELECT pg_sleep(0.05)") for _ in range(count)))


async def test_what_a_rush_left_is_closed_once_it_has_been_idle(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    await rush(lines, module.FEW + 3)
    rushed = len(lines._idle)
    assert rushed > module.FEW
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    await lines.fetch("SELECT 1")
    assert len(lines._idle) == module.FEW
    assert not any(connection.is_closed() for connection, _ in lines._idle)


async def test_a_connection_is_used_again(lines: Lines) -> None:
    first = await lines.fetch("SELECT pg_backend_pid() AS pid")
    assert await lines.fetch("SELECT pg_backend_pid() AS pid") == first
