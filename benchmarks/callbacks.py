"""How fast callbacks are delivered, and whether receivers that hang delay others.

Every figure is a median of three, taken in turn with what it is compared with, so that the ratio holds on a machine
that others use too; CPU times hold on a busy one as well.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import aiohttp
import psutil

from benchmarks import sink
from benchmarks.server import Server, running
from reportsim.engine.delivery.queue_group import LIMITS, DestinationHealth

ROUNDS = 3
REQUESTS = 200
DEAD = 300
# As many as one request may start.
MANY = 200
LINE = 3_000
POSTS = 4_000
# Deliveries that a rate may be taken of.
LEAST = 200
AIM = 0.65
AT_ONCE = LIMITS[DestinationHealth.PROMPT].each
LATER_MS = 20


def main() -> None:
    """Prints the table."""
    with sink.running() as receiver:
        fairness(receiver)
        throughput(receiver)


# Fairness: the delay between a report's end and its callback's arrival, at one in twenty.


def fairness(receiver: sink.Running) -> None:
    """Prints the delay at a live receiver with and without dead ones beside it."""
    hosts = [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(DEAD)]
    loads = {
        f"beside one that hangs, {REQUESTS} requests": [receiver.url("slow", host="127.0.0.2")] * REQUESTS,
        f"beside {DEAD} that hang, one request each": [receiver.url("slow", host=host) for host in hosts],
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in loads}
    for _ in range(ROUNDS):
        for name, dead in loads.items():
            # Each in a service of its own, that knows nothing of these receivers yet.
            figures[name].append((p95(receiver, []), p95(receiver, dead)))
    for name, pairs in figures.items():
        alone = statistics.median(alone for alone, _ in pairs)
        beside = statistics.median(beside for _, beside in pairs)
        limit = 1.5 * alone + LATER_MS
        verdict = "ok" if beside <= limit else "MISSED"
        shown = f"{beside:7.1f} ms  alone {alone:6.1f} ms  limit {limit:6.1f} ms  {verdict}"
        print(f"p95 delay of a live receiver {name:<44} {shown}")


def p95(receiver: sink.Running, dead: list[str]) -> float:
    """The 95th percentile of the delay in milliseconds, of requests to a live receiver among those to dead ones."""
    with running(
        REPORTSIM_CALLBACK_ALLOW="127.0.0.0/8",
        REPORTSIM_CALLBACK_RATE="0",
        REPORTSIM_WORKERS="4",
        REPORTSIM_SHUTDOWN_GRACE_S="0.1",
    ) as server:
        receiver.take()
        live = [receiver.url("live")] * REQUESTS
        asyncio.run(submit(server, [*woven(live, dead)]))
        arrivals = wait_for(receiver, REQUESTS)
    delays = [
        (at - datetime.fromisoformat(ended).timestamp()) * 1000
        for at, ended in zip(arrivals.at, arrivals.ended, strict=True)
    ]
    return statistics.quantiles(delays, n=20)[-1]


def woven(first: list[str], second: list[str]) -> Iterator[str]:
    """Two lists as one, in which both are spread evenly; the second one a little ahead."""
    places = [
        (number / len(each), rank, url) for rank, each in enumerate((second, first)) for number, url in enumerate(each)
    ]
    return (url for *_, url in sorted(places))


async def submit(server: Server, urls: list[str], at_once: int = 8) -> None:
    """Asks for a report for each URL."""
    left = iter(urls)
    async with aiohttp.ClientSession(server.url) as client:

        async def post() -> None:
            for url in left:
                async with client.post("/api/async", json={"ledger": "tiny", "callback_url": url}) as answer:
                    assert answer.status == 202, await answer.text()
                    await answer.read()

        await asyncio.gather(*(post() for _ in range(at_once)))


def wait_for(receiver: sink.Running, count: int, timeout: float = 120) -> sink.Arrivals:
    """Waits until so many have arrived."""
    got = receiver.take()
    deadline = time.monotonic() + timeout
    while len(got.at) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(got.at)} of {count} arrived")
        time.sleep(0.2)
        more = receiver.take()
        got = sink.Arrivals(got.at + more.at, got.paths + more.paths, got.ended + more.ended, more.body or got.body)
    return got


# Throughput: signed deliveries a second, logged in the database, against posts of a bare client.


def throughput(receiver: sink.Running) -> None:
    """Prints deliveries a second beside the posts a second of a bare client with kept connections, also over TLS."""
    settings = {"CALLBACK_ALLOW": "127.0.0.0/8", "CALLBACK_RATE": "0", "WORKERS": "4"}
    figures: dict[str, list[tuple[Figures, Figures]]] = {"http": [], "https": []}
    os.environ["SSL_CERT_FILE"] = str(receiver.certificate)
    with running(**{f"REPORTSIM_{name}": value for name, value in settings.items()}) as server:
        receiver.take()
        for scheme in figures:
            asyncio.run(submit(server, [receiver.url(scheme=scheme)] * LINE))
            body = wait_for(receiver, LINE).body
        for _ in range(ROUNDS):
            for scheme, pairs in figures.items():
                url = receiver.url(scheme=scheme)
                pairs.append((redelivered(server, receiver, url), bare(url, body)))
                receiver.take()
    print(f"deliveries to one receiver, signed and logged, {AT_ONCE} at once, {len(body)} bytes each")
    for scheme, pairs in figures.items():
        ratio = statistics.median(service.rate / other.rate for service, other in pairs)
        work = statistics.median(other.cpu_us / service.cpu_us for service, other in pairs)
        for name, side in (("service", 0), ("bare aiohttp client", 1)):
            rate, cpu = (statistics.median(each) for each in zip(*(pair[side] for pair in pairs), strict=True))
            print(f"  {scheme:5}  {name:20} {rate:8,.0f}/s  {cpu:4.0f} µs of CPU each")
        print(f"  {scheme:5}  ratio of rates {ratio:.2f} (aim {AIM}), of CPU {work:.2f}")


class Figures(NamedTuple):
    """Posts a second, and the CPU time of each."""

    rate: float
    cpu_us: float


def redelivered(server: Server, receiver: sink.Running, url: str) -> Figures:
    """Deliveries while a lane is full: from when the last series has been started to the last arrival."""
    asyncio.run(start_series(server, url))
    began, cpu = time.time(), cpu_of(server)
    at = [moment for moment in wait_for(receiver, LINE).at if moment > began]
    assert len(at) >= LEAST, f"only {len(at)} deliveries were left when all series had been started"
    time.sleep(0.2)  # until the last ones are logged
    return Figures(len(at) / (max(at) - began), (cpu_of(server) - cpu) / len(at) * 1e6)


async def start_series(server: Server, url: str) -> None:
    """Starts a series of each callback to a URL, some of them at once so that deliveries do not overtake them."""
    order = {"callback_status": "SUCCESS", "origin": url.rpartition("/")[0], "limit": MANY}
    async with aiohttp.ClientSession(server.url) as client:

        async def start() -> int:
            async with client.post("/api/requests/redeliver", json=order) as answer:
                return int((await answer.json())["started"])

        started = sum(await asyncio.gather(*(start() for _ in range(LINE // MANY))))
        while started < LINE:
            started += await start()


def cpu_of(server: Server) -> float:
    """The CPU time of the service's process so far, in seconds."""
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


def bare(url: str, body: str) -> Figures:
    """Posts of a bare client in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bare", url, str(POSTS), str(AT_ONCE)]
    done = subprocess.run(command, input=body.encode(), capture_output=True, check=True)
    return Figures(*map(float, done.stdout.split()))


if __name__ == "__main__":
    main()
