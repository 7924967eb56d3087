"""The load, from a process of its own: it sends at the planned times and hears every result, whoever is slow.

`python -m reportsim.benchmark.generator` reads an order and then one line for each block to run from standard input; it
writes a line for each step and at last both sides' samples to standard output. The loop is asyncio's own: uvloop's
timers fire early.
"""

import asyncio
import gc
import json
import math
import os
import resource
import sys
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import web

from reportsim.benchmark.plan import Block, Plan
from reportsim.benchmark.protocol import CALLBACK_PATH, INDEX_HEADER, RUN_HEADER, WARM_UP, Order, line
from reportsim.benchmark.samples import Outcome, Samples
from reportsim.benchmark.schedule import make_schedule
from reportsim.core.model import Mode
from reportsim.core.signing import parse_secret, sign

MOST_FILES: Final = 65_536
LAG_EVERY_S: Final = 0.05
# asyncio's timers may come up to a millisecond late: what is due within half of that is sent with its neighbours.
AHEAD_S: Final = 0.0005
PATHS: Final = {Mode.SYNC: "/api/sync", Mode.ASYNC: "/api/async"}


@dataclass(slots=True)
class Watch:
    """What the generator observes of itself."""

    lags_ms: "array[float]" = field(default_factory=lambda: array("d"))
    pauses_ms: list[float] = field(default_factory=list)
    pool_waits: int = 0
    _paused_at: float = 0.0

    def on_gc(self, phase: str, _info: dict[str, Any]) -> None:
        """A callback of the garbage collector."""
        if phase == "start":
            self._paused_at = time.monotonic()
        else:
            self.pauses_ms.append(1000 * (time.monotonic() - self._paused_at))

    async def run(self) -> None:
        """Measures how late the loop is."""
        while True:
            due = time.monotonic() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.lags_ms.append(1000 * max(time.monotonic() - due, 0.0))


class Generator:
    """One run's load."""

    def __init__(self, order: Order, session: aiohttp.ClientSession, port: int, watch: Watch) -> None:
        """Prepares the schedule; `port` is that of the receiver."""
        self.plan = Plan.from_json(order.plan)
        self._schedule = make_schedule(self.plan)
        first = len(self.plan.halves[0])
        self.samples = {mode: Samples.empty(mode, self._schedule.intended, first) for mode in Mode}
        self._order = order
        self._session = session
        self._callback = f"http://127.0.0.1:{port}{CALLBACK_PATH}"
        self._secrets = [parse_secret(secret) for secret in order.secrets]
        self._start = 0.0
        self._arrived = asyncio.Event()
        self._missing: set[int] = set()
        self.watch = watch

    async def warm_up(self) -> None:
        """Sends a few requests down both sides, of which nothing is kept."""
        body = {**self.plan.report}
        for mode in Mode:
            for _ in range(WARM_UP):
                async with self._session.post(
                    PATHS[mode], json=body, headers={RUN_HEADER: self._order.token}
                ) as answer:
                    await answer.read()

    async def run(self, block: Block) -> float:
        """Runs one block to its end and returns its start on the monotonic clock."""
        self._start = time.monotonic() + 0.05
        self._missing = set(block.indices) if block.mode is Mode.ASYNC else set()
        tasks: set[asyncio.Task[None]] = set()
        for index in block.indices:
            due = self._start + self._schedule.intended[index]
            while (left := due - time.monotonic()) > AHEAD_S:
                await asyncio.sleep(left)
            task = asyncio.create_task(self._send(block.mode, index))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)
        await self._await_callbacks()
        return self._start

    async def _await_callbacks(self) -> None:
        """Waits for what was accepted and not heard of yet, as long as the order allows."""
        deadline = time.monotonic() + self._order.drain_s
        while self._missing and (left := deadline - time.monotonic()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                break
        samples = self.samples[Mode.ASYNC]
        for index in self._missing:
            if samples.outcomes[index] == Outcome.CALLBACK_LOST:
                samples.result[index] = math.nan

    def _now(self) -> float:
        return time.monotonic() - self._start

    async def _send(self, mode: Mode, index: int) -> None:
        samples = self.samples[mode]
        body = self.plan.body(self._schedule.seeds[index])
        if mode is Mode.ASYNC:
            body = {**body, "callback_url": f"{self._callback}{index}"}
        headers = {RUN_HEADER: self._order.token, INDEX_HEADER: str(index)}
        leaves = self._start + self._schedule.intended[index] + self.plan.timeout_of(mode)
        samples.sent[index] = self._now()
        try:
            async with (
                asyncio.timeout(None if math.isinf(leaves) else max(leaves - time.monotonic(), 0)),
                self._session.post(PATHS[mode], json=body, headers=headers) as answer,
            ):
                await answer.read()
                samples.accepted[index] = self._now()
                self._judge(mode, index, answer.status)
        except TimeoutError:
            samples.outcomes[index] = Outcome.CLIENT_TIMEOUT
        except (aiohttp.ClientError, OSError):
            samples.outcomes[index] = Outcome.REFUSED
            self._missing.discard(index)

    def _judge(self, mode: Mode, index: int, status: int) -> None:
        samples = self.samples[mode]
        if mode is Mode.ASYNC and status == 202:
            # The callback may have been faster than the body of the 202.
            if samples.outcomes[index] == Outcome.REFUSED:
                samples.outcomes[index] = Outcome.CALLBACK_LOST
            return
        self._missing.discard(index)
        self._arrived.set()
        if status == 200:
            samples.outcomes[index] = Outcome.OK
            samples.result[index] = samples.accepted[index]
        elif status in {429, 503}:
            samples.outcomes[index] = Outcome.SHED
        elif status == 500:
            samples.outcomes[index] = Outcome.JOB_FAILED
        else:
            samples.outcomes[index] = Outcome.HTTP_5XX if status > 500 else Outcome.HTTP_4XX

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """Takes a callback: the result is in the client's hands when it is there and its signature holds."""
        body = await request.read()
        moment = self._now()
        if not self._is_signed(request, body):
            return web.Response(status=400)
        index = int(request.path.removeprefix(CALLBACK_PATH))
        samples = self.samples[Mode.ASYNC]
        if index not in self._missing:
            samples.duplicates += 1
            return web.Response()
        self._missing.discard(index)
        completed = json.loads(body)["type"] == "report.completed"
        samples.result[index] = moment if completed else math.nan
        samples.outcomes[index] = Outcome.OK if completed else Outcome.JOB_FAILED
        self._arrived.set()
        return web.Response()

    def _is_signed(self, request: web.BaseRequest, body: bytes) -> bool:
        headers = request.headers
        message, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        try:
            expected = sign(self._secrets, message, int(moment), body).split()
        except ValueError:
            return False
        return bool(set(expected) & set(headers.get("webhook-signature", "").split()))


@asynccontextmanager
async def client(url: str, watch: Watch) -> AsyncIterator[aiohttp.ClientSession]:
    """A client without a limit of connections, which counts when one had to be waited for all the same."""

    async def waited(*_: Any) -> None:
        watch.pool_waits += 1

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(waited)
    async with aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=5),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        trace_configs=[trace],
    ) as session:
        yield session


async def serve(order: Order, commands: asyncio.StreamReader) -> None:
    """Runs what the commands ask for, and writes what came of it."""
    watch = Watch()
    holder: list[Generator] = []

    async def receive(request: web.BaseRequest) -> web.StreamResponse:
        return await holder[0].receive(request)

    runner = web.ServerRunner(web.Server(receive), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    port = runner.addresses[0][1]
    watching = asyncio.create_task(watch.run())
    try:
        async with client(order.url, watch) as session:
            generator = Generator(order, session, port, watch)
            holder.append(generator)
            say({"port": port})
            await commands.readline()
            await generator.warm_up()
            quieten(watch)
            say({"warm": True})
            began = time.process_time(), time.monotonic()
            for block in generator.plan.blocks:
                await commands.readline()
                say({"block": [block.mode, block.number], "start": await generator.run(block)})
            spent, elapsed = time.process_time() - began[0], time.monotonic() - began[1]
            report(generator, spent / elapsed if elapsed else 0.0)
    finally:
        watching.cancel()
        await runner.cleanup()


def quieten(watch: Watch) -> None:
    """Keeps the garbage collector from walking what will live until the end, and times what it does."""
    gc.collect()
    gc.freeze()
    gc.callbacks.append(watch.on_gc)


def report(generator: Generator, cpu_share: float) -> None:
    """Writes the samples of both sides behind a line with their lengths and what the generator saw of itself."""
    packed = [generator.samples[mode].pack() for mode in Mode]
    lags = sorted(generator.watch.lags_ms)
    pauses = generator.watch.pauses_ms
    say(
        {
            "lengths": [len(part) for part in packed],
            "loop_lag_p99_ms": lags[int(0.99 * (len(lags) - 1))] if lags else None,
            "cpu_share": cpu_share,
            "pool_waits": generator.watch.pool_waits,
            "gc_pause_sum_ms": sum(pauses),
            "gc_pause_max_ms": max(pauses, default=0.0),
        }
    )
    for part in packed:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def say(value: Any) -> None:
    """Writes one line to whoever started this process."""
    sys.stdout.buffer.write(line(value))
    sys.stdout.buffer.flush()


async def main() -> None:
    """Reads the order and serves it."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), os.fdopen(0, "rb"))
    await serve(Order.decode(await commands.readline()), commands)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(MOST_FILES, hard) if hard > 0 else MOST_FILES, hard))
    asyncio.run(main())
