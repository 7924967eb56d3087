"""The load, from a process of its own: it sends at the planned times and hears every result, whoever is slow.

`python -m reportsim.benchmark.load.generator` reads an order from standard input, says what is to be expected of the plan,
sends a block each time it is told to, and at last makes the result out of its samples and of what the service saw. The
loop is asyncio's own: uvloop's timers fire early.
"""

import asyncio
import contextlib
import gc
import json
import math
import os
import sys
import time
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.load.arrivals import make_schedule
from reportsim.benchmark.load.completion import ASKING, Asking, Tally, Way, figures
from reportsim.benchmark.load.http_client import Client, Receiving
from reportsim.benchmark.load.messages import (
    CALLBACK_PATH,
    INDEX_HEADER,
    LONGEST_LINE,
    RUN_HEADER,
    WARM_UP,
    Message,
    Order,
    encode,
    receive,
)
from reportsim.benchmark.load.process_monitor import Watch, watching
from reportsim.benchmark.plan import MOST_DRAIN_S, Block, Plan
from reportsim.benchmark.results.conclusion import conclude
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.server_recorder import complete, loaded
from reportsim.benchmark.theory.prediction import predict
from reportsim.core.json import dumps
from reportsim.core.model import Mode, rfc3339
from reportsim.core.signing import parse_secret, sign
from reportsim.tasks import start

if sys.platform != "win32":
    import resource

Json = dict[str, Any]
MOST_FILES: Final = 65_536
BACKLOG: Final = 4_096
START_IN_S: Final = 0.05
# asyncio's timers may come up to a millisecond late: what is due within half of that is sent with its neighbours.
AHEAD_S: Final = 0.0005
# Whoever is behind must still hear the answers that come in.
BREATHE_EVERY: Final = 16
# How often the service is asked whether any callback is still to come.
ASK_EVERY_S: Final = 0.5
# For how long after its load a block is waited for: longer than the longest backlog takes, shorter than the service
# waits for this process.
PATIENCE_S: Final = MOST_DRAIN_S + 240.0
FAILED_REPORT: Final = b"/problems/report-failed"
PATHS: Final = {Mode.SYNC: "/api/sync", Mode.ASYNC: "/api/async"}


class Generator:
    """One run's load."""

    def __init__(self, order: Order, plan: Plan) -> None:
        """Prepares the schedule; callbacks are to come to `callback_base` and their index."""
        self.plan = plan
        self.schedule = make_schedule(plan)
        self._first = len(plan.halves[0])
        self.samples = {mode: Samples.empty(mode, array("d", self.schedule.intended), self._first) for mode in Mode}
        self._client = Client(order.host, order.port, order.host_header)
        self._run_line = f"{RUN_HEADER}: {order.token}\r\n"
        self._run = order.run
        self.callback_base = ""
        self._secrets = [parse_secret(secret) for secret in order.secrets]
        # On the monotonic clock, by side and number of the block.
        self._starts = {(mode, number): 0.0 for mode in Mode for number in range(2)}
        self._deadline = math.inf
        self._open = 0
        self._missing: set[int] = set()
        """Requests of the async side whose callback may still come."""
        self._heard = bytearray(plan.count)
        self._changed = asyncio.Event()
        self.first_async: Json | None = None
        self._tally = Tally()

    async def warm_up(self) -> None:
        """Sends a few requests down both sides, of which nothing is kept."""
        for mode in Mode:
            body = {**self.plan.report}
            if mode is Mode.ASYNC:
                body["callback_url"] = f"{self.callback_base}warm"
            data = self._client.message("POST", PATHS[mode], dumps(body), self._run_line)
            for _ in range(WARM_UP):
                await self._client.ask(data)

    async def run(self, blocks: Sequence[Block]) -> float:
        """Runs one block, or both sides' at once, to the end and returns the start on the monotonic clock."""
        began = time.monotonic() + START_IN_S
        self._starts |= {(block.mode, block.number): began for block in blocks}
        self._deadline = began + self.plan.block_s + PATIENCE_S
        self._open = sum(len(block.indices) for block in blocks)
        self._missing = {index for block in blocks if block.mode is Mode.ASYNC for index in block.indices}
        self._tally = Tally()
        for index in blocks[0].indices:
            due = began + self.schedule.intended[index]
            if (left := due - time.monotonic()) > AHEAD_S:
                await asyncio.sleep(left)
            for block in blocks:
                self._send(block.mode, index)
            if index % BREATHE_EVERY == 0:
                await asyncio.sleep(0)
        while self._open:
            await self._change()
        await self._hear_the_rest()
        for block in blocks:
            if block.mode is Mode.ASYNC and block.number == 0:
                times = self.samples[block.mode].times_to_result()[: len(block.indices)]
                self.first_async = figures(times, self._tally, time.monotonic() - began)
        return began

    async def _hear_the_rest(self) -> None:
        """Waits until every accepted request has been called back, the service has none left to call, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline - time.monotonic()):
                while self._missing and await self._expects_callbacks():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_EVERY_S):
                            await self._change()

    async def ask_for_results(self, way: Way) -> Json:
        """Runs the first async block again, with clients that are not called but ask."""
        return await Asking(way, self._client, self.plan, self.schedule, self._run_line).run()

    def connected(self, by: int) -> None:
        """A connection of a callback came in, or is gone."""
        if by > 0:
            self._tally.opens()
        else:
            self._tally.closes()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _expects_callbacks(self) -> bool:
        """Whether any callback of this run has not been delivered or given up yet."""
        path = f"/api/requests?run={self._run}&callback_status=PENDING&limit=1"
        status, body = await self._client.ask(self._client.message("GET", path))
        return status != 200 or bool(json.loads(body)["items"])

    def _since_start(self, mode: Mode, index: int) -> float:
        """The moment in seconds from the start of a request's own block, which may be over."""
        return time.monotonic() - self._starts[mode, int(index >= self._first)]

    def _send(self, mode: Mode, index: int) -> None:
        samples, plan = self.samples[mode], self.plan
        body = plan.body(self.schedule.seeds[index])
        if mode is Mode.ASYNC:
            body["callback_url"] = f"{self.callback_base}{index}"
        headers = f"{self._run_line}{INDEX_HEADER}: {index}\r\n"
        data = self._client.message("POST", PATHS[mode], dumps(body), headers)
        due = self._starts[mode, int(index >= self._first)] + self.schedule.intended[index]
        leaves = min(due + plan.timeout_of(mode), self._deadline)

        def answered(status: int | None, body: bytes) -> None:
            # Its timer may be a little late; a client whose time is over has left.
            if time.monotonic() >= leaves:
                return
            self._tally.closes()
            timer.cancel()
            self._answered(mode, index, status, body)

        def give_up() -> None:
            leave()
            self._tally.closes()
            if mode is Mode.SYNC or not self._heard[index]:
                samples.outcomes[index] = Outcome.CLIENT_TIMEOUT
            self._over()

        self._tally.opens()
        samples.sent[index] = self._since_start(mode, index)
        timer = asyncio.get_running_loop().call_at(leaves, give_up)
        leave = self._client.send(data, answered)

    def _over(self) -> None:
        self._open -= 1
        if not self._open:
            self._changed.set()

    def _answered(self, mode: Mode, index: int, status: int | None, body: bytes) -> None:
        samples = self.samples[mode]
        if status is not None:
            samples.accepted[index] = self._since_start(mode, index)
        if mode is Mode.SYNC:
            samples.outcomes[index] = outcome_of(status, body)
            if status == 200:
                samples.result[index] = samples.accepted[index]
        # The callback may have been faster than the 202.
        elif not self._heard[index]:
            samples.outcomes[index] = Outcome.CALLBACK_LOST if status == 202 else outcome_of(status, body)
            # Where the answer was lost the service may have accepted the request, and will then call.
            if status not in {202, None}:
                self._missing.discard(index)
        self._over()

    def hear(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Takes a callback: the result is in the client's hands when it is there and its signature holds."""
        if not self._is_signed(headers, body):
            return 400
        name = path.removeprefix(CALLBACK_PATH)
        if not (name.isascii() and name.isdigit() and len(name) < 8 and int(name) < self.plan.count):
            return 200
        if attempt_of(headers) <= self.plan.callback_failures:
            return 503
        index, samples = int(name), self.samples[Mode.ASYNC]
        if self._heard[index]:
            samples.duplicates += 1
            return 200
        completed = json.loads(body)["type"] == "report.completed"
        self._heard[index] = 1
        samples.result[index] = self._since_start(Mode.ASYNC, index) if completed else math.nan
        samples.outcomes[index] = Outcome.OK if completed else Outcome.JOB_FAILED
        self._missing.discard(index)
        if not self._missing:
            self._changed.set()
        return 200

    def _is_signed(self, headers: dict[str, str], body: bytes) -> bool:
        message, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        try:
            expected = sign(self._secrets, message, int(moment), body).split()
        except ValueError:
            return False
        return bool(set(expected) & set(headers.get("webhook-signature", "").split()))


def attempt_of(headers: dict[str, str]) -> int:
    """The number of a callback's attempt; the first where none is given."""
    text = headers.get("webhook-attempt", "1")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 1


def outcome_of(status: int | None, body: bytes) -> Outcome:
    """What a final status, or none at all, means to a client; a 500 is a failed report only where it says so."""
    match status:
        case None:
            return Outcome.REFUSED
        case 200:
            return Outcome.OK
        case 429 | 503:
            return Outcome.SHED
        case 500 if FAILED_REPORT in body:
            return Outcome.JOB_FAILED
        case _:
            return Outcome.HTTP_5XX if status >= 500 else Outcome.HTTP_4XX


class Pipes:
    """The way to whoever started this process; when that ends, so does this."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        """Listens to a pipe."""
        self._stream = stream
        self._messages: asyncio.Queue[Message] = asyncio.Queue()

    async def listen(self) -> None:
        """Reads until the other side has ended."""
        with contextlib.suppress(EOFError):
            while True:
                self._messages.put_nowait(await receive(self._stream))

    async def hear(self) -> Message:
        """The next message."""
        return await self._messages.get()

    @staticmethod
    def say(value: dict[str, Any], *parts: bytes) -> None:
        """Sends a message."""
        sys.stdout.buffer.write(encode(value, *parts))
        sys.stdout.buffer.flush()


@contextlib.asynccontextmanager
async def receiving(generator: Generator, host: str) -> AsyncIterator[None]:
    """Lets callbacks come to a generator as long as the block lasts."""
    server = await asyncio.get_running_loop().create_server(lambda: Receiving(generator), host, 0, backlog=BACKLOG)
    async with server:
        address, port = server.sockets[0].getsockname()[:2]
        generator.callback_base = f"http://{f'[{address}]' if ':' in address else address}:{port}{CALLBACK_PATH}"
        yield


async def serve(pipes: Pipes) -> None:
    """Runs what is ordered, and sends what came of it."""
    order = Order.from_json((await pipes.hear()).value)
    plan = Plan.from_json(order.plan)
    prediction = predict(plan)
    generator = Generator(order, plan)
    async with receiving(generator, order.host):
        pipes.say({"callback_base": generator.callback_base}, dumps(prediction))
        await pipes.hear()
        await generator.warm_up()
        tidy()
        pipes.say({})
        starts: dict[Mode, dict[int, float]] = {mode: {} for mode in Mode}
        async with watching() as watch:
            for blocks in plan.steps:
                await pipes.hear()
                with hurrying():
                    start = await generator.run(blocks)
                for block in blocks:
                    # In a race there is no second block, which starts with the first.
                    starts[block.mode] |= {block.number: start} if not plan.together else {0: start, 1: start}
                tidy()
                pipes.say({})
        ways: dict[Way, Json] = {Way.WEBHOOK: generator.first_async} if generator.first_async else {}
        for way in ASKING if plan.ways else ():
            await pipes.hear()
            with hurrying():
                ways[way] = await generator.ask_for_results(way)
            pipes.say({})
        seen = await pipes.hear()
        pipes.say({}, *finish(generator, prediction, starts, seen, watch, ways if plan.ways else None))


def tidy() -> None:
    """Collects garbage between the blocks, so that none need be collected in one: that would make requests late."""
    gc.disable()
    gc.collect()
    gc.freeze()


def finish(
    generator: Generator,
    prediction: dict[str, Any],
    starts: dict[Mode, dict[int, float]],
    seen: Message,
    watch: Watch,
    ways: dict[Way, Json] | None,
) -> list[bytes]:
    """The result as JSON, and both sides' samples packed."""
    columns = loaded(seen.parts)
    integrals = {
        mode: complete(
            generator.samples[mode], columns[mode], seen.value["areas"][mode], (starts[mode][0], starts[mode][1])
        )
        for mode in Mode
    }
    server = Conditions(**seen.value["conditions"])
    conditions = replace(
        server,
        generator_loop_lag_p99_ms=watch.lag_p99_ms,
        generator_cpu_share=watch.cpu_share,
        gc_pause_sum_ms=server.gc_pause_sum_ms + watch.pause_sum_ms,
        gc_pause_max_ms=max(server.gc_pause_max_ms, watch.pause_max_ms),
    )
    result = {"blocks": blocks(generator.plan, starts), "ways": ways} | conclude(
        generator.plan, generator.schedule, prediction, generator.samples, integrals, conditions
    )
    return [dumps(result), *(generator.samples[mode].pack() for mode in Mode)]


def blocks(plan: Plan, starts: dict[Mode, dict[int, float]]) -> list[dict[str, Any]]:
    """When each block began, in the order in which they ran."""
    epoch = time.time() - time.monotonic()
    return [
        {
            "side": block.mode,
            "block": block.number + 1,
            "started_at": rfc3339(datetime.fromtimestamp(epoch + starts[block.mode][block.number], UTC)),
        }
        for block in plan.blocks
    ]


async def main() -> None:
    """Serves until the work is done, or whoever started it has ended."""
    stream = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(0, "rb"))
    pipes = Pipes(stream)
    working, listening = start(serve(pipes), name="serve", handled=(Exception,)), start(pipes.listen(), name="listen")
    await asyncio.wait([working, listening], return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        working.cancel()
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


def allow_files() -> None:
    """Lets this process open as many connections as the system allows."""
    if sys.platform != "win32":
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextlib.contextmanager
def hurrying() -> Iterator[None]:
    """Goes before other processes, where that is allowed, as long as the block lasts.

    Whoever measures time must not wait for it, as it would not on a machine of its own. Niceness alone is not enough: a
    process that has begun its slice keeps it for milliseconds, and Linux weighs niceness within a session only.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            usual = os.sched_getscheduler(0), os.sched_getparam(0)
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
            stack.callback(os.sched_setscheduler, 0, *usual)
        yield


if __name__ == "__main__":
    allow_files()
    asyncio.run(main())
