"""SIGTERM under load: no connection is reset, nothing accepted is lost, streams end cleanly, the exit is in time."""

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from reportsim.store.pool import connect
from tests.engine.jobs import until
from tests.engine.receiver import Receiver
from tests.faults.load import is_quiet
from tests.faults.process import ServerProcess

pytestmark = pytest.mark.slow

CLIENTS = 100
STREAMS = 10
GRACE_S = 10.0
TINY = {"ledger": "tiny"}


def held_for(milliseconds: int) -> dict[str, object]:
    return {**TINY, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": milliseconds}, "seed": 1}}


class Clients:
    """Clients with a connection each, who go elsewhere when they are told to, as behind a load balancer."""

    def __init__(self, server: ServerProcess, receiver: Receiver) -> None:
        self.url = server.url
        self.receiver = receiver
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.sent_away = 0

    async def work(self, number: int) -> None:
        """Sends one request after the other, until an answer closes the connection."""
        ways = [self.submit, self.wait, self.look]
        async with aiohttp.ClientSession(self.url) as session:
            while True:
                number += 1
                try:
                    async with await ways[number % 3](session) as answer:
                        body = await answer.json()
                except aiohttp.ClientError as error:
                    self.errors[type(error).__name__] += 1
                    return
                self.statuses[answer.status] += 1
                if answer.status == 202:
                    self.accepted.append(body["id"])
                if answer.headers.get("Connection") == "close":
                    self.sent_away += 1
                    return
                await asyncio.sleep(0.05)

    def submit(self, session: aiohttp.ClientSession) -> "aiohttp.client._RequestContextManager":
        return session.post("/api/async", json={**TINY, "callback_url": self.receiver.url()})

    def wait(self, session: aiohttp.ClientSession) -> "aiohttp.client._RequestContextManager":
        return session.post("/api/sync", json=held_for(20))

    def look(self, session: aiohttp.ClientSession) -> "aiohttp.client._RequestContextManager":
        return session.get("/api/requests")

    async def listen(self) -> None:
        """Reads a stream to its end; one that is cut is an error."""
        async with aiohttp.ClientSession(self.url) as session:
            try:
                async with session.get("/api/events") as answer:
                    await answer.read()
            except aiohttp.ClientError as error:
                self.errors[type(error).__name__] += 1


async def watch_readiness(url: str, seen: list[int]) -> None:
    """Asks on a new connection each time, until nobody listens any more."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(force_close=True)) as session:
        while True:
            try:
                async with session.get("/readyz") as answer:
                    seen.append(answer.status)
            except aiohttp.ClientError:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("server", [1, 4], ids=["one-process", "four-processes"], indirect=True)
async def test_nobody_notices_but_for_being_sent_elsewhere(
    server: ServerProcess, own_dsn: str, receiver: Receiver
) -> None:
    clients = Clients(server, receiver)
    readiness: list[int] = []
    tasks = [asyncio.create_task(clients.work(number)) for number in range(CLIENTS)]
    streams = [asyncio.create_task(clients.listen()) for _ in range(STREAMS)]
    async with server.client() as api:
        slow = asyncio.create_task(api.session.post("/api/sync", json=held_for(2_000)))
        await asyncio.sleep(2)
        watching = asyncio.create_task(watch_readiness(server.url, readiness))

        async def watched() -> bool:
            return bool(readiness)

        await until(watched)
        began = time.monotonic()
        code = await server.terminate()
        took = time.monotonic() - began
        await asyncio.gather(*tasks, *streams, watching)
        assert (await slow).status == 200
    print(
        f"\n{clients.statuses} to {CLIENTS} clients, {clients.sent_away} sent away, errors {dict(clients.errors)},"
        f" exit {code} after {took:.1f} s"
    )
    assert code == 0
    assert took < GRACE_S
    assert clients.errors == {}
    assert clients.sent_away == CLIENTS
    assert clients.statuses.keys() <= {200, 202, 503}
    assert set(readiness) == {200, 503}
    assert readiness == sorted(readiness)
    await server.start()
    connection = await connect(own_dsn)
    try:
        await until(lambda: is_quiet(connection), timeout=30)
        found = "SELECT id, status, callback_status, takeovers FROM requests WHERE mode = 'async'"
        rows = await connection.fetch(found)
    finally:
        await connection.close()
    assert {str(row["id"]) for row in rows} == set(clients.accepted)
    assert {(row["status"], row["callback_status"], row["takeovers"]) for row in rows} == {("COMPLETED", "SUCCESS", 0)}
    assert {arrival.request_id for arrival in receiver.arrivals} == set(clients.accepted)


async def test_the_grace_time_is_for_everything_together(own_dsn: str, tmp_path: Path, receiver: Receiver) -> None:
    """A report, its client, and a callback, none of which would end: what runs is handed over."""
    receiver.holds = {"held"}
    async with ServerProcess(own_dsn, tmp_path, REPORTSIM_SHUTDOWN_GRACE_S="2") as server, server.client() as api:
        delivering = await api.submit({**TINY, "callback_url": receiver.url("held")})
        await receiver.count(1)
        client = asyncio.create_task(api.session.post("/api/sync", json=held_for(60_000)))
        running = await api.submit(held_for(60_000))
        await api.in_status(running, "PROCESSING")
        began = time.monotonic()
        assert await server.terminate() == 0
        took = time.monotonic() - began
        with pytest.raises(aiohttp.ClientError):
            await client
    connection = await connect(own_dsn)
    try:
        rows = await connection.fetch("SELECT id, status, owner, lease_until < now() AS free FROM requests")
        due = await connection.fetchval("SELECT id FROM requests WHERE callback_due_at <= now()")
    finally:
        await connection.close()
    print(f"\nexit after {took:.1f} s with a grace time of 2 s")
    assert took < 6
    assert all(row["owner"] is None for row in rows)
    assert [row["free"] for row in rows if row["status"] == "PROCESSING"] == [True, True]
    assert str(due) == delivering


@pytest.mark.parametrize(("pause_s", "status"), [(0.3, 200), (1.5, None)])
async def test_two_signals_are_one_wish_within_a_second_and_an_order_after_it(
    server: ServerProcess, pause_s: float, status: int | None
) -> None:
    async with server.client() as api:
        held = asyncio.create_task(api.session.post("/api/sync", json=held_for(4_000)))
        await asyncio.sleep(0.5)
        os.kill(server.pid, signal.SIGTERM)
        await asyncio.sleep(pause_s)
        began = time.monotonic()
        code = await server.terminate()
        took = time.monotonic() - began
        if status is None:
            assert code == 1
            assert took < 2
            assert "not waiting any longer" in server.log
            with pytest.raises(aiohttp.ClientError):
                await held
        else:
            assert code == 0
            assert (await held).status == status
