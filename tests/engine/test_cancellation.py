"""A slot is free only when the server has stopped doing what it was held for."""

import asyncio

import pytest

from reportsim.core.model import Status
from reportsim.reports import generate
from reportsim.store.pool import Connection, Pool
from tests.conftest import Service
from tests.engine.jobs import finished, submit, until
from tests.store.rows import new

WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def free_slots(service: Service) -> bool:
    return service.engine.slots.busy == 0


async def test_a_cancelled_report_is_over_on_the_server_before_its_slot_is_free(
    service: Service, connection: Connection, pool: Pool
) -> None:
    async with connection.transaction():
        await connection.execute("LOCK TABLE balances, postings IN ACCESS EXCLUSIVE MODE")
        request = await submit(service.engine, new())
        await until(lambda: pool.fetchval(WAITING))
        assert await service.engine.changes.cancel(request.id)
        await until(lambda: free_slots(service))
        assert await pool.fetchval(WAITING) == 0


async def test_so_is_one_that_took_too_long(
    service: Service, connection: Connection, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "TIMEOUT_S", 0.3)
    async with connection.transaction():
        await connection.execute("LOCK TABLE balances, postings IN ACCESS EXCLUSIVE MODE")
        request = await submit(service.engine, new())
        await until(lambda: pool.fetchval(WAITING))
        await until(lambda: free_slots(service))
        assert await pool.fetchval(WAITING) == 0
    done = await finished(pool, request)
    assert done.status is Status.FAILED


async def test_so_is_one_whose_lease_somebody_else_took(service: Service, connection: Connection, pool: Pool) -> None:
    async with connection.transaction():
        await connection.execute("LOCK TABLE balances, postings IN ACCESS EXCLUSIVE MODE")
        request = await submit(service.engine, new())
        await until(lambda: pool.fetchval(WAITING))
        [work] = service.engine.worker._works.values()
        work.task.cancel()
        await asyncio.wait([work.task])
        assert await pool.fetchval(WAITING) == 0
    assert request.id not in service.engine.worker.running_ids
