"""What happens on the wire is the same on every event loop that the service runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from tests.wire.names import Names, serving_names
from tests.wire.sockets import Silent, free_port, listening_silently


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The standard library's loop, and uvloop's where it is installed."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:
        return factories
    return {**factories, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def port() -> int:
    """A port that is free on every loopback address, and may be called."""
    return free_port()


@pytest.fixture
async def silent(port: int) -> AsyncIterator[Silent]:
    """A listener on 127.0.0.1 and ::1 that nobody may connect to."""
    async with listening_silently(port, "127.0.0.1", "::1") as listener:
        yield listener
    assert listener.connections == 0


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    """A DNS server on a port of the loopback address."""
    async with serving_names() as server:
        yield server
