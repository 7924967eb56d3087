"""Many event streams, some of which nobody reads: memory stays, the others are in time, and all end cleanly."""

import asyncio
import contextlib
import functools
import re
import resource
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import psutil
import pytest

from tests.engine.jobs import until
from tests.faults.process import ServerProcess

ID = re.compile(rb"id: [0-9a-f]+-(\d+)\n")
REQUEST = b"GET /api/events%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
TINY = {"ledger": "tiny"}
RATE = 25
MOST_GROWTH_MB = 20
MOST_LAG_S = 1.0
SOON_S = 5.0


class Reader(asyncio.Protocol):
    """A subscriber that notes when each message came."""

    def __init__(self, arrivals: dict[int, list[float]], query: bytes = b"") -> None:
        self._arrivals = arrivals
        self._query = query
        self.news = 0
        self._transport: asyncio.Transport | None = None
        self.tail = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(REQUEST % self._query)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.news += data.count(b"event: requests\n")
        for number in ID.findall(data):
            self._arrivals[int(number)].append(now)
        self.tail = (self.tail + data)[-len(LAST_CHUNK) :]

    def connection_lost(self, _: Exception | None) -> None:
        self.ended.set_result(None)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()


async def subscribe_and_never_read(host: str, port: int) -> socket.socket:
    """A subscriber with little room, which it leaves full."""
    subscriber = socket.socket()
    subscriber.setblocking(False)
    subscriber.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(subscriber, (host, port))
    await asyncio.get_running_loop().sock_sendall(subscriber, REQUEST % b"")
    return subscriber


async def subscribers(session: aiohttp.ClientSession) -> int:
    async with session.get("/metrics") as answer:
        found = re.search(r"^reportsim_sse_subscribers (\S+)$", await answer.text(), re.MULTILINE)
    assert found
    return int(float(found[1]))


@contextlib.asynccontextmanager
async def events_flowing(session: aiohttp.ClientSession) -> AsyncIterator[None]:
    """Submits requests all the time, each of which changes its state twice or more."""

    async def flow() -> None:
        while True:
            async with session.post("/api/async", json=TINY) as answer:
                assert answer.status == 202
            await asyncio.sleep(1 / RATE)

    task = asyncio.create_task(flow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def many_files() -> None:
    """A connection is a file, here and in the server, which takes over our limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16_384), most))


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(
    ("count", "silent", "first_s", "last_s"),
    [(200, 20, 3.0, 10.0), (1_000, 100, 10.0, 60.0)],
)
async def test_those_who_do_not_read_cost_neither_memory_nor_time(
    own_dsn: str, tmp_path: Path, count: int, silent: int, first_s: float, last_s: float
) -> None:
    async with ServerProcess(own_dsn, tmp_path, REPORTSIM_STREAMS_PER_CLIENT=str(count)) as server:
        await compare(server, count, silent, first_s, last_s)


async def compare(server: ServerProcess, count: int, silent: int, first_s: float, last_s: float) -> None:
    """Lets many read and some not, and compares the server's memory at two moments."""
    host, port = urlsplit(server.url).hostname or "", urlsplit(server.url).port or 0
    arrivals: dict[int, list[float]] = defaultdict(list)
    process = psutil.Process(server.pid)
    async with server.client() as api, contextlib.AsyncExitStack() as stack:
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        watched = await api.submit({**TINY, "callback_url": f"{server.url}/webhook-test/watched"})
        await api.over(watched)
        # A quarter of those who read look at one request, and another quarter each at one that there is not.
        quarter = (count - silent) // 4
        queries = [""] * (count - silent - 2 * quarter) + [f"?request_id={watched}"] * quarter
        queries += [f"?request_id={uuid4()}" for _ in range(quarter)]
        readers = []
        for query in queries:
            connect = functools.partial(Reader, arrivals, query.encode())
            readers.append((await loop.create_connection(connect, host, port))[1])
        watching, lonely = readers[-2 * quarter : -quarter], readers[-quarter:]
        for _ in range(silent):
            stack.enter_context(await subscribe_and_never_read(host, port))
        await until(lambda: number_is(api.session, count))
        async with events_flowing(api.session):
            await asyncio.sleep(max(began + first_s - time.monotonic(), 1))
            arrivals.clear()
            for reader in readers:
                reader.news = 0
            early, used = process.memory_info().rss, sum(process.cpu_times()[:2])
            since = time.monotonic()
            await asyncio.sleep(max(began + last_s - time.monotonic(), 1))
            late = process.memory_info().rss
            cpu = (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - since)
            left = await subscribers(api.session)
            assert {reader.news for reader in watching + lonely} == {0}
            async with api.session.post(f"/api/requests/{watched}/redeliver") as answer:
                assert answer.status == 202
            await until(lambda: have_news(watching))
            assert {reader.news for reader in lonely} == {0}

        # Those who close their connection are forgotten soon.
        leaving = readers[: count // 10]
        for reader in leaving:
            reader.close()
        gone = time.monotonic()
        await until(lambda: number_is_at_most(api.session, left - len(leaving)))
        forgotten = time.monotonic() - gone

        staying = readers[count // 10 :]
        assert not any(reader.ended.done() for reader in staying)
        began = time.monotonic()
        assert await server.terminate() == 0
        stopped = time.monotonic() - began
        await asyncio.gather(*(reader.ended for reader in staying))
    lags = sorted(lag for times in arrivals.values() for lag in (moment - min(times) for moment in times))
    p99 = lags[len(lags) * 99 // 100]
    growth = (late - early) / 1e6
    print(
        f"\n{count} subscribers, {silent} of them silent, {left} left at the end; {len(arrivals)} messages,"
        f" lag p50 {statistics.median(lags) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, max {lags[-1] * 1000:.0f} ms;"
        f" {early / 1e6:.0f} MB at {first_s:.0f} s, {growth:+.1f} MB until {last_s:.0f} s; {cpu:.0%} of a core;"
        f" {len(leaving)} forgotten after {forgotten:.2f} s; stopped in {stopped:.1f} s"
    )
    assert {reader.tail for reader in staying} == {LAST_CHUNK}
    assert growth < MOST_GROWTH_MB
    assert p99 < MOST_LAG_S
    assert forgotten < SOON_S


async def have_news(readers: list[Reader]) -> bool:
    return all(reader.news for reader in readers)


async def number_is(session: aiohttp.ClientSession, number: int) -> bool:
    return await subscribers(session) == number


async def number_is_at_most(session: aiohttp.ClientSession, number: int) -> bool:
    return await subscribers(session) <= number
