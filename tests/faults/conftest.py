from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engine.receiver import Receiver, receiving
from tests.faults.process import ServerProcess
from tests.store.databases import empty_database

pytest.register_assert_rewrite("tests.faults.load")


@pytest.fixture
async def own_dsn(server_dsn: str) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    async with empty_database(server_dsn) as dsn:
        yield dsn


@pytest.fixture
async def server(own_dsn: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ServerProcess]:
    """A running server on an empty database of its own; a parameter is the number of its processes."""
    async with ServerProcess(own_dsn, tmp_path, getattr(request, "param", 1)) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver outside: it outlives every life of the server."""
    async with receiving() as running:
        yield running
