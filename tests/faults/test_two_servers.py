"""Two server processes on one database: each request is done once, and either ends the other's work."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from reportsim.store.pool import connect
from tests.engine.jobs import until
from tests.engine.receiver import Receiver
from tests.faults.load import is_quiet
from tests.faults.process import ServerProcess

pytestmark = pytest.mark.slow

TINY = {"ledger": "tiny"}
REQUESTS = 500
GENEROUS_S = 15.0


@dataclass
class Replicas:
    one: ServerProcess
    other: ServerProcess
    connection: "asyncpg.Connection[asyncpg.Record]"

    async def ended(self) -> float:
        """Waits until nothing is left to do; says for how long."""
        started = time.monotonic()
        await until(lambda: is_quiet(self.connection), timeout=60)
        return time.monotonic() - started


@pytest.fixture
async def replicas(own_dsn: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    connection = await connect(own_dsn)
    try:
        async with (
            ServerProcess(own_dsn, folders[0], REPORTSIM_WORKERS="4") as one,
            ServerProcess(own_dsn, folders[1], REPORTSIM_WORKERS="4") as other,
        ):
            yield Replicas(one, other, connection)
    finally:
        await connection.close()


async def test_every_request_is_done_once(replicas: Replicas, receiver: Receiver) -> None:
    async with replicas.one.client() as one, replicas.other.client() as other:
        began = time.monotonic()
        bodies = [{**TINY, **({"callback_url": receiver.url()} if n % 5 == 0 else {})} for n in range(REQUESTS)]
        ids = await asyncio.gather(*((one, other)[n % 2].submit(body) for n, body in enumerate(bodies)))
        await replicas.ended()
        took = time.monotonic() - began
        ended = [
            await counter(api.session, 'reportsim_requests_ended_total{status="COMPLETED"}') for api in (one, other)
        ]
    rows = await replicas.connection.fetch("SELECT status, tries, takeovers FROM requests")
    assert {tuple(row) for row in rows} == {("COMPLETED", 1, 0)}
    assert len(rows) == len(set(ids)) == sum(ended) == REQUESTS
    assert len(receiver.arrivals) == len({arrival.message_id for arrival in receiver.arrivals}) == REQUESTS / 5
    print(f"\n{REQUESTS} requests in {took:.1f} s: {ended[0]:.0f} done by one, {ended[1]:.0f} by the other")
    assert min(ended) > 0


async def test_one_ends_the_work_of_another_that_was_killed(replicas: Replicas, receiver: Receiver) -> None:
    """Reports that ran, clients that waited for a slot, callbacks on the wire: all within a lease and a moment."""
    receiver.holds = {"held"}
    async with replicas.one.client() as one:
        # More than one at a time goes only to a receiver that is known to answer.
        known = await one.submit({**TINY, "callback_url": receiver.url("known")})
        await one.over(known)
        delivering = [await one.submit({**TINY, "callback_url": receiver.url("held")}) for _ in range(5)]
        await receiver.count(5, "held")
        slow = {**TINY, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 1000}, "seed": 1}}
        running = [await one.submit({**slow, "callback_url": receiver.url("quick")}) for _ in range(8)]
        waiting = [asyncio.create_task(one.session.post("/api/sync", json=TINY)) for _ in range(100)]

        async def accepted() -> bool:
            found = "SELECT count(*) FROM requests WHERE mode = 'sync'"
            return bool(await replicas.connection.fetchval(found) == len(waiting))

        await until(accepted)
        await replicas.one.kill()
        receiver.release()
        took = await replicas.ended()
        lost = await asyncio.gather(*waiting, return_exceptions=True)
    rows = await replicas.connection.fetch(
        "SELECT id, status, callback_status, takeovers, callback_attempts FROM requests"
    )
    assert len(rows) == 1 + len(delivering) + len(running) + len(waiting)
    assert {row["status"] for row in rows} == {"COMPLETED"}
    assert {row["callback_status"] for row in rows} == {"SUCCESS", None}
    assert max(row["takeovers"] for row in rows) == 1
    assert {arrival.request_id for arrival in receiver.arrivals} == {known, *delivering, *running}
    assert len({arrival.message_id for arrival in receiver.arrivals}) == 1 + len(delivering) + len(running)
    broken = sum(isinstance(answer, aiohttp.ClientError) for answer in lost)
    takeovers = sum(row["takeovers"] for row in rows)
    print(f"\n{takeovers} taken over, {broken} clients cut, all ended {took:.1f} s after the kill")
    assert took < GENEROUS_S


async def counter(session: aiohttp.ClientSession, name: str) -> float:
    async with session.get("/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
