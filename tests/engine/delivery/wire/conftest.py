"""What happens on the wire is the same on every event loop that the service runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

import pytest

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.settings import Settings
from tests.engine.delivery.wire.names import Names, serving_names
from tests.engine.delivery.wire.sockets import Silent, listening_silently
from tests.ports import free_port


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The standard library's loop, and uvloop's where it is installed."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop
    except ImportError:
        return factories
    return {**factories, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def restless() -> None:
    """Keeps the engine's own intervals, which other tests of the engine shorten."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings that let callbacks go to public addresses alone."""
    return replace(settings, callback_allow=AllowList())


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
