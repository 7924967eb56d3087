from collections.abc import AsyncIterator

import pytest

from tests.store.databases import empty_database


@pytest.fixture
async def empty_dsn(server_dsn: str) -> AsyncIterator[str]:
    """A database without any table, of the test's own."""
    async with empty_database(server_dsn) as dsn:
        yield dsn
