"""The database crashes and is gone for a while: 503 meanwhile, nothing accepted is lost, and no busy waiting."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import psutil
import pytest

from reportsim.core.model import Status
from reportsim.settings import Settings
from reportsim.store.pool import Pool
from tests.conftest import serving
from tests.engine.jobs import finished, job, submit, until
from tests.engine.receiver import Receiver
from tests.faults.database import Database, own_database
from tests.faults.load import Load
from tests.faults.process import ServerProcess

CLIENTS = 16
TINY = {"ledger": "tiny"}
MOST_CPU = 0.5


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with own_database() as running:
        yield running


async def answer(url: str, **body: str) -> tuple[int, str | None]:
    method = "POST" if body else "GET"
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body or None) as found:
        return found.status, found.headers.get("Retry-After")


@pytest.mark.slow
@pytest.mark.parametrize("down_s", [2, 10])
async def test_nothing_accepted_is_lost(database: Database, tmp_path: Path, receiver: Receiver, down_s: float) -> None:
    async with ServerProcess(database.dsn, tmp_path, REPORTSIM_CALLBACK_WAITS="0.2,0.4") as server:
        load = Load([server.url], receiver, seed=1)
        async with load.running(CLIENTS):
            await asyncio.sleep(1)
            await database.restart()
            await asyncio.sleep(1)
            await database.strike()
            await asyncio.sleep(down_s / 2)
            for path in ("/api/async", "/api/sync"):
                status, retry_after = await answer(server.url + path, **TINY)
                assert (status, retry_after is not None) == (503, True)
            assert (await answer(f"{server.url}/api/requests"))[0] == 503
            assert (await answer(f"{server.url}/healthz"))[0] == 200
            assert (await answer(f"{server.url}/readyz"))[0] == 503
            await asyncio.sleep(down_s / 2)
            await database.start()
            back = time.monotonic()
            await until(lambda: is_status(f"{server.url}/readyz", 200))
            ready = time.monotonic() - back
            await until(lambda: is_status(f"{server.url}/api/async", 202, **TINY))
            accepting = time.monotonic() - back
            await asyncio.sleep(1)
        began = time.monotonic()
        counts = await load.verify(database.dsn)
        quiet = time.monotonic() - began
        assert load.broken.total() == 0
        assert server.starts == 1
    print(
        f"\n{counts}; {ready:.2f} s after the database ready, {accepting:.2f} s accepting, then quiet in {quiet:.1f} s"
    )


async def is_status(url: str, status: int, **body: str) -> bool:
    try:
        return (await answer(url, **body))[0] == status
    except aiohttp.ClientError:
        return False


@pytest.mark.slow
async def test_waiting_for_it_costs_little(database: Database, tmp_path: Path, receiver: Receiver) -> None:
    """With reports to finish, callbacks to record and leases to renew, all of which fail meanwhile."""
    receiver.holds = {"held"}
    service = {"distribution": "fixed", "mean_ms": 500}
    slow = {**TINY, "simulate": {"service_time": service, "seed": 1}, "callback_url": receiver.url("quick")}
    async with ServerProcess(database.dsn, tmp_path) as server, server.client() as api:
        # More than one at a time goes only to a receiver that is known to answer.
        await api.over(await api.submit({**TINY, "callback_url": receiver.url("known")}))
        held = [await api.submit({**TINY, "callback_url": receiver.url("held")}) for _ in range(5)]
        await receiver.count(5, "held")
        running = [await api.submit(slow) for _ in range(8)]
        await api.in_status(running[0], "PROCESSING")
        await database.strike()
        receiver.release()
        await asyncio.sleep(1)
        process = psutil.Process(server.pid)
        before, began = process.cpu_times(), time.monotonic()
        await asyncio.sleep(2)
        after, took = process.cpu_times(), time.monotonic() - began
        cpu = (after.user + after.system - before.user - before.system) / took
        await database.start()
        for id in held + running:
            ended = await api.over(id)
            assert (ended["status"], ended["callback_status"]) == ("COMPLETED", "SUCCESS")
        print(f"\n{cpu:.1%} of a core while it waited")
        assert cpu < MOST_CPU
        assert len(server.log.splitlines()) < 500


async def test_a_server_that_starts_before_it_waits_says_so_and_works(database: Database, tmp_path: Path) -> None:
    await database.strike()
    server = ServerProcess(database.dsn, tmp_path)
    # Its start ends when it is ready.
    starting = asyncio.create_task(server.start())
    try:

        async def waits() -> bool:
            return "waiting for the database" in server.log

        await until(waits)
        await until(lambda: is_status(f"{server.url}/healthz", 200))
        assert (await answer(f"{server.url}/readyz"))[0] == 503
        status, retry_after = await answer(f"{server.url}/api/async", **TINY)
        assert (status, retry_after is not None) == (503, True)
        await database.start()
        await starting
        assert (await answer(f"{server.url}/api/sync", **TINY))[0] == 200
    finally:
        await server.kill()
        await asyncio.gather(starting, return_exceptions=True)


@pytest.mark.slow
async def test_a_connection_that_hangs_costs_no_lease(settings: Settings, pool: Pool) -> None:
    """Its backend stands still without a word: what it was to renew is renewed over another one, in time."""
    patient = replace(settings, lease_s=6.0)
    renewing = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        # Between two renewals: within one it would hold the row, and nobody could end the request.
        " AND query LIKE '%held AS MATERIALIZED%' AND state = 'idle'"
    )
    async with serving(patient) as one, serving(patient):
        request = await submit(one.engine, job(10_000))

        async def renewer() -> int | None:
            pid: int | None = await pool.fetchval(renewing)
            return pid

        backend = psutil.Process(await until(renewer))
        try:
            backend.suspend()
        except psutil.AccessDenied:
            pytest.skip("the database belongs to somebody else")
        try:
            done = await finished(pool, request, timeout=30)
        finally:
            backend.resume()
    assert (done.status, done.takeovers) == (Status.COMPLETED, 0)
