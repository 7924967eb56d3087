"""The database goes away and comes back: refused while it is gone, nothing lost, and no restart needed."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from reportsim.core.model import CallbackStatus, Request, Status
from reportsim.settings import Settings
from reportsim.store.pool import Pool
from tests.conftest import Service, serving
from tests.engine.jobs import finished, job, submit, until
from tests.engine.line import Line, line_to
from tests.engine.receiver import Receiver
from tests.store.rows import new

TINY = {"ledger": "tiny"}


@pytest.fixture
async def line(dsn: str) -> AsyncIterator[Line]:
    async with line_to(dsn) as mended:
        yield mended


@pytest.fixture
def settings(settings: Settings, line: Line) -> Settings:
    """A service that reaches its database over the line."""
    return replace(settings, database_url=line.dsn, lease_s=2.0)


async def status(service: Service, path: str, **body: str) -> tuple[int, str | None]:
    method = "POST" if body else "GET"
    async with service.client.request(method, path, json=body or None) as answer:
        return answer.status, answer.headers.get("Retry-After")


async def accepts(service: Service) -> bool:
    return (await status(service, "/api/async", **TINY))[0] == 202


async def test_while_it_is_gone_work_is_refused_and_health_is_not(service: Service, line: Line) -> None:
    assert await accepts(service)
    await line.cut()
    for path in ("/api/async", "/api/sync"):
        refused = await status(service, path, **TINY)
        assert refused[0] == 503
        assert refused[1] is not None
    assert (await status(service, "/api/requests"))[0] == 503
    assert await status(service, "/healthz") == (200, None)
    assert (await status(service, "/readyz"))[0] == 503
    await line.mend()
    await until(lambda: accepts(service))
    assert (await status(service, "/api/sync", **TINY))[0] == 200
    assert (await status(service, "/readyz"))[0] == 200


async def test_what_was_accepted_ends_when_it_is_back(
    service: Service, line: Line, pool: Pool, receiver: Receiver
) -> None:
    rows = [job(600, callback_url=receiver.url()) for _ in range(4)]
    rows += [new(callback_url=receiver.url()) for _ in range(10)]
    requests = [await submit(service.engine, row) for row in rows]

    async def working() -> bool:
        return len(service.engine.worker.running_ids) == 4

    await until(working)
    await line.cut()
    await asyncio.sleep(0.8)
    await line.mend()
    for request in requests:
        done = await finished(pool, request)
        assert (done.status, done.callback_status) == (Status.COMPLETED, CallbackStatus.SUCCESS)
    assert {arrival.request_id for arrival in receiver.arrivals} == {str(request.id) for request in requests}
    assert len({arrival.message_id for arrival in receiver.arrivals}) == len(requests)


async def test_connections_that_break_at_any_moment_lose_nothing(
    service: Service, line: Line, pool: Pool, receiver: Receiver
) -> None:
    accepted: list[Request] = []
    for number in range(100):
        if number >= 8 and accepted:
            break
        rows = [new(callback_url=receiver.url()) for _ in range(5)]
        submissions = [asyncio.create_task(service.engine.submit(row)) for row in rows]
        await asyncio.sleep(0.003 * number)
        await line.break_connections()
        outcomes = await asyncio.gather(*submissions, return_exceptions=True)
        accepted += [row.request for row, outcome in zip(rows, outcomes, strict=True) if outcome is True]
    assert accepted
    for request in accepted:
        done = await finished(pool, request)
        assert (done.status, done.callback_status) == (Status.COMPLETED, CallbackStatus.SUCCESS)


async def test_a_service_that_starts_without_it_waits_and_says_so(
    settings: Settings, line: Line, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await line.cut()

    async def mend_later() -> None:
        async def said() -> bool:
            return "waiting for the database" in caplog.text

        await until(said)
        await line.mend()

    mending = asyncio.create_task(mend_later())
    async with serving(settings) as service:
        await mending
        done = await finished(pool, await submit(service.engine, new()))
        assert done.status is Status.COMPLETED


async def test_a_service_that_stops_without_it_stops_all_the_same(settings: Settings, line: Line, pool: Pool) -> None:
    async with serving(settings) as service:
        request = await submit(service.engine, job(60_000))

        async def working() -> bool:
            return request.id in service.engine.worker.running_ids

        await until(working)
        await line.cut()
    await line.mend()
    await pool.execute("UPDATE requests SET input_payload = $2 WHERE id = $1", request.id, '{"report_type": "none"}')
    async with serving(replace(settings, lease_s=60)):
        assert (await finished(pool, request)).takeovers == 1
