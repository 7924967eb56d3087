"""Connections: borrowed for as long as it takes and no longer, and errors that are repeated where that may help."""

import asyncpg
import pytest

from reportsim.store import pool as module
from reportsim.store.errors import DatabaseUnavailable
from reportsim.store.pool import (
    AWAY,
    HOUSEKEEPING,
    LEAST_CONNECTIONS,
    MOST_CONNECTIONS,
    OUTAGES,
    create_pool,
    persist,
    share_connections,
)


async def test_nobody_waits_for_a_connection_for_ever(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACQUIRE_TIMEOUT_S", 0.05)
    async with create_pool(dsn, size=1, statement_cache=0) as pool:
        async with pool.acquire(timeout=10):
            with pytest.raises(TimeoutError):
                await pool.fetchval("SELECT 1")
        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    ("address", "wanted", "total"),
    [
        ("postgresql://", None, MOST_CONNECTIONS),
        ("postgresql://?connection_limit=20", None, 20),
        ("postgresql://?connection_limit=20", 30, 30),
        ("postgresql://?connection_limit=1&pgbouncer=true", None, LEAST_CONNECTIONS),
        ("postgresql://", 1, LEAST_CONNECTIONS),
        ("postgresql://", 7, 7),
        ("postgresql://", 500, 500),
    ],
)
def test_connections_are_shared_out_to_the_last(address: str, wanted: int | None, total: int) -> None:
    shares = share_connections(address, wanted)
    assert shares.clients + shares.engine + shares.reports + HOUSEKEEPING == total
    assert min(shares.clients, shares.engine, shares.reports) >= 1


class Failing:
    """Raises what it was given, one after the other, then gives an answer."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return 42


class TestPersisting:
    async def test_repeats_until_the_database_is_there_and_says_so_once(self, caplog: pytest.LogCaptureFixture) -> None:
        action = Failing(DatabaseUnavailable("refused"), asyncpg.CannotConnectNowError("starting"))
        assert await persist(action, first_wait=0.001) == 42
        [record] = caplog.records
        assert "refused" in record.getMessage()

    async def test_lets_other_errors_pass(self) -> None:
        with pytest.raises(asyncpg.DataError):
            await persist(Failing(asyncpg.DataError("bad row")))

    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.ConfigurationLimitExceededError("temp_file_limit"),
            asyncpg.OutOfMemoryError("out of memory"),
            asyncpg.QueryCanceledError("statement timeout"),
            asyncpg.DiskFullError("no space"),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_can_be_kept_from_repeating_what_would_only_come_again(self, error: Exception) -> None:
        assert await persist(Failing(error), first_wait=0.001) == 42
        assert isinstance(error, OUTAGES)
        with pytest.raises(type(error)):
            await persist(Failing(error), through=AWAY)
