"""How many may read the event stream, and how late it reaches them: from a request's end to the event of it.

The readers are one process, which only notes when each event came; requests change their state all the time.
"""

import asyncio
import json
import re
import resource
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from benchmarks.harness.figures import Table, number, shown
from benchmarks.harness.idle import cpu_of
from benchmarks.harness.options import Options
from benchmarks.server import Server, running

TITLE: Final = "Readers of the event stream"
READERS: Final = (10, 100, 500, 1_000, 2_000)
SMALL: Final = (5, 20)
RATE: Final = 20
SECONDS: Final = 5.0
SETTLE_S: Final = 1.0
AT_ONCE: Final = 50
FILES: Final = 16_384
REQUEST: Final = b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ID: Final = re.compile(rb"id: ([0-9a-f]+-\d+)\n")
EVENT: Final = re.compile(rb"(?:\A|\n)id: ([0-9a-f]+-\d+)\n(?:.*\n)*?data: (.*)\n")


class Reader(asyncio.Protocol):
    """A subscriber that notes when each event came; one of them keeps what it read."""

    def __init__(self, arrivals: dict[bytes, list[float]], *, keeps: bool) -> None:
        self._arrivals, self._keeps = arrivals, keeps
        self.text = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        for id in ID.findall(data):
            self._arrivals[id].append(now)
        if self._keeps:
            self.text += data


def ends(text: bytes) -> dict[bytes, float]:
    """When the newest end was of which an event says it, by the event's id."""
    found = {}
    for id, data in EVENT.findall(text):
        items: Iterable[dict[str, Any]] = json.loads(data).get("items", ())
        moments = [item["completed_at"] for item in items if item.get("completed_at")]
        if moments:
            found[id] = max(datetime.fromisoformat(moment).timestamp() for moment in moments)
    return found


async def ask(client: aiohttp.ClientSession, seconds: float) -> None:
    """Asks for reports at a steady rate."""
    began, sent = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        async with client.post("/api/async", json={"ledger": "tiny"}) as answer:
            await answer.read()
        sent += 1
        await asyncio.sleep(max(began + sent / RATE - time.monotonic(), 0))


async def delays(server: Server, count: int, seconds: float) -> tuple[list[float], float]:
    """The milliseconds of all events at all readers, in order, and the share of a core that the service used."""
    arrivals: dict[bytes, list[float]] = defaultdict(list)
    loop, address = asyncio.get_running_loop(), urlsplit(server.url)
    host, port = address.hostname or "", address.port or 0
    places = asyncio.Semaphore(AT_ONCE)

    async def connect(keeps: bool) -> Reader:
        async with places:
            _, reader = await loop.create_connection(lambda: Reader(arrivals, keeps=keeps), host, port)
            return reader

    readers = await asyncio.gather(*(connect(keeps=index == 0) for index in range(count)))
    try:
        await asyncio.sleep(SETTLE_S)
        arrivals.clear()
        before, began = cpu_of([server.pid]), time.monotonic()
        async with aiohttp.ClientSession(server.url) as client:
            await ask(client, seconds)
        await asyncio.sleep(SETTLE_S)
        share = (cpu_of([server.pid]) - before) / (time.monotonic() - began)
    finally:
        for reader in readers:
            reader.transport.abort()
    ended = ends(readers[0].text.replace(b"\r\n", b"\n"))
    complete = {id: times for id, times in arrivals.items() if id in ended}
    if not complete or any(len(times) != count for times in complete.values()):
        raise AssertionError("an event did not reach every reader")
    return sorted(1000 * (at - ended[id]) for id, times in complete.items() for at in times), share


def run(options: Options) -> str:
    """The section of the page."""
    counts, seconds = (SMALL if options.small else READERS), (1.0 if options.small else SECONDS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, FILES), most))
    found: dict[int, list[tuple[float, float, float]]] = {count: [] for count in counts}
    with running(REPORTSIM_STREAMS_PER_CLIENT=str(max(counts)), REPORTSIM_DEMO_LINES="4") as server:
        for _ in range(options.rounds):
            for count in counts:
                late, share = asyncio.run(delays(server, count, seconds))
                found[count].append((late[len(late) // 2], late[len(late) * 99 // 100], 100 * share))
    table = Table(("readers", "p50, ms", "p99, ms", "service's CPU, % of a core"))
    for count, rounds in found.items():
        table.add(
            number(count) if count >= 100 else str(count), *(shown(column) for column in zip(*rounds, strict=True))
        )
    return f"""\
From the end of a request to the arrival of its event, at all readers, which share the machine with the service;
{RATE} requests a second, each of which changes its state two or three times.

{table}
"""
