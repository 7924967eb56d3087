"""Housekeeping: leases that outlive mishaps, and rows that go when their time is over."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from reportsim.core.model import Status
from reportsim.engine import sweeper
from reportsim.settings import Settings
from reportsim.store import queue_stats
from reportsim.store import requests as store
from reportsim.store.pool import Pool
from tests.conftest import Service, serving
from tests.engine.jobs import finished, job, state, submit
from tests.store.rows import OTHER, inserted, new


async def test_leases_are_renewed_after_a_renewal_that_failed(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew: Callable[..., Awaitable[None]] = store.renew
    failures = [asyncpg.DeadlockDetectedError("not the database's absence")]

    async def failing(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        await renew(*arguments)

    monkeypatch.setattr(store, "renew", failing)
    async with serving(replace(settings, lease_s=1.5)) as one, serving(replace(settings, lease_s=60)):
        done = await finished(pool, await submit(one.engine, job(2_200)))
    assert not failures
    assert (done.status, done.takeovers) == (Status.COMPLETED, 0)


async def test_what_ended_before_the_retention_time_is_deleted_with_its_file(service: Service, pool: Pool) -> None:
    old, recent = [await finished(pool, await submit(service.engine, new())) for _ in range(2)]
    files = [service.engine.files.path(request.id) for request in (old, recent)]
    assert all(file.exists() for file in files)
    # Both its id and its end are from long ago.
    long_ago = UUID("01890000-0000-7000-8000-000000000000")
    aged = "UPDATE requests SET id = $2, completed_at = now() - interval '8 days' WHERE id = $1"
    await pool.execute(aged, old.id, long_ago)
    files[0].rename(service.engine.files.path(long_ago))
    assert await service.engine._sweeper.prune() == 1
    assert not service.engine.files.path(long_ago).exists()
    assert files[1].exists()
    assert (await state(pool, recent)) == recent


async def test_a_retention_longer_than_time_itself_deletes_nothing(settings: Settings, pool: Pool) -> None:
    async with serving(replace(settings, retention_hours=1_000_000)) as service:
        done = await finished(pool, await submit(service.engine, new()))
        assert await service.engine._sweeper.prune() == 0
        assert await state(pool, done) == done


async def test_the_planner_learns_of_a_table_that_has_grown(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", 3_600.0)
    known = "SELECT reltuples FROM pg_class WHERE oid = 'requests'::regclass"
    async with serving(settings) as service:
        sweeping = service.engine._sweeper
        await inserted(pool, *(new(owner=OTHER) for _ in range(600)))
        assert await sweeping.analyze_growth() is False
        service.engine.counts.accepted["async"] = 600
        assert await sweeping.analyze_growth() is True
        assert await pool.fetchval(known) == 600
        # What the planner knows of as many as came since is not gathered again.
        service.engine.counts.accepted["async"] = 1_200
        await pool.execute("UPDATE pg_class SET reltuples = 700 WHERE oid = 'requests'::regclass")
        assert await sweeping.analyze_growth() is False
        assert await pool.fetchval(known) == 700
        # Many more than that are, and also those that come after all were deleted.
        service.engine.counts.accepted["async"] = 5_000
        assert await sweeping.analyze_growth() is True
        await pool.execute("TRUNCATE requests, callback_logs")
        await inserted(pool, *(new(owner=OTHER) for _ in range(510)))
        service.engine.counts.accepted["async"] = 5_499
        assert await sweeping.analyze_growth() is False
        service.engine.counts.accepted["async"] = 5_510
        assert await sweeping.analyze_growth() is True
        assert await pool.fetchval(known) == 510


async def test_looking_at_growth_waits_for_no_vacuum(service: Service, pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE requests IN SHARE UPDATE EXCLUSIVE MODE")
        async with asyncio.timeout(20):
            assert await queue_stats.analyze_if_outgrown(pool, 1_000_000_000)
