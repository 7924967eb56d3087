"""The load of a run: requests are sent at the planned times, whatever becomes of earlier ones, and recorded."""

import asyncio
import contextlib
import json
import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reportsim.benchmark.load.completion import Asking, Tally, Way, figures
from reportsim.benchmark.load.http_client import Client
from reportsim.benchmark.load.messages import CALLBACK_PATH, INDEX_HEADER, RUN_HEADER, WARM_UP, Order
from reportsim.benchmark.plan import MOST_DRAIN_S, Plan
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.workload import Block, Side
from reportsim.core.json import dumps
from reportsim.core.model import Mode
from reportsim.core.signing import parse_secret, sign

Json = dict[str, Any]
START_IN_S: Final = 0.05
# asyncio's timers may come up to a millisecond late: what is due within half of that is sent with its neighbours.
AHEAD_S: Final = 0.0005
# A generator that is late must still read the responses that arrive.
BREATHE_EVERY: Final = 16
# How often the service is asked whether any callback is still to come.
ASK_EVERY_S: Final = 0.5
# For how long after its load a block is waited for: longer than the longest backlog takes, shorter than the service
# waits for this process.
PATIENCE_S: Final = MOST_DRAIN_S + 240.0
FAILED_REPORT: Final = b"/problems/report-failed"
PATHS: Final = {Mode.SYNC: "/api/sync", Mode.ASYNC: "/api/async"}


@dataclass(slots=True, eq=False)
class SideLoad:
    """One side: its samples, and which callbacks have come."""

    side: Side
    samples: Samples
    heard: bytearray
    missing: set[int] = field(default_factory=set)
    """Requests of the block in progress whose callback may still come."""
    starts: dict[int, float] = field(default_factory=dict)
    """When each block began, on the monotonic clock."""

    def since_start(self, index: int) -> float:
        """The moment in seconds from the start of a request's own block, which may be over."""
        return time.monotonic() - self.starts[self.block_of(index)]

    def has_begun(self, index: int) -> bool:
        """Whether there is a request of this index in a block that has begun."""
        return index < len(self.samples) and self.block_of(index) in self.starts

    def block_of(self, index: int) -> int:
        """The number of the block that a request belongs to."""
        return bisect_right(self.samples.bounds, index) - 1


class Generator:
    """One run's load."""

    def __init__(self, order: Order, plan: Plan) -> None:
        """Prepares the schedule; callbacks are to come to `callback_base`, side and index."""
        self.plan = plan
        self.schedule = make_schedule(plan)
        self.sides = {side.name: self._load_of(side) for side in plan.sides}
        self._client = Client(order.host, order.port, order.host_header)
        self._run_line = f"{RUN_HEADER}: {order.token}\r\n"
        self._run = order.run
        self.callback_base = ""
        self._secrets = [parse_secret(secret) for secret in order.secrets]
        self._deadline = math.inf
        self._open = 0
        self._changed = asyncio.Event()
        self.first_async: Json | None = None
        self._tally = Tally()

    def _load_of(self, side: Side) -> SideLoad:
        samples = Samples.empty(side.name, self.schedule.due, self.schedule.bounds)
        return SideLoad(side, samples, bytearray(len(self.schedule)))

    @property
    def samples(self) -> dict[str, Samples]:
        """What was recorded, by side."""
        return {name: load.samples for name, load in self.sides.items()}

    async def warm_up(self) -> None:
        """Sends the plan's reports down both sides at the plan's concurrency; nothing of them is kept.

        They plan no service time: what the first block would pay for are connections, caches and prepared statements.
        """
        for side in self.plan.sides:
            data = self._client.message("POST", PATHS[side.mode], dumps(self._warm_up_body(side)), self._run_line)
            for _ in range(2):
                concurrent = min(WARM_UP // 2, self.plan.workers)
                await asyncio.gather(*(self._client.ask(data) for _ in range(concurrent)))

    def _warm_up_body(self, side: Side) -> Json:
        body = {**self.plan.report}
        if side.mode is Mode.ASYNC:
            body["callback_url"] = f"{self.callback_base}warm"
        return body

    async def run(self, blocks: Sequence[Block]) -> float:
        """Runs one block, or both sides' at once, to the end and returns the start on the monotonic clock."""
        loads = [self.sides[block.side.name] for block in blocks]
        indices = self.schedule.blocks[blocks[0].number]
        began = time.monotonic() + START_IN_S
        self._deadline = began + self.plan.block_s + PATIENCE_S
        self._open = len(indices) * len(blocks)
        for load, block in zip(loads, blocks, strict=True):
            load.starts[block.number] = began
            load.missing = set(indices) if load.side.mode is Mode.ASYNC else set()
        self._tally = Tally()
        for index in indices:
            due = began + self.schedule.due[index]
            if (left := due - time.monotonic()) > AHEAD_S:
                await asyncio.sleep(left)
            for load in loads:
                self._send(load, index)
            if index % BREATHE_EVERY == 0:
                await asyncio.sleep(0)
        while self._open:
            await self._change()
        await self._hear_the_rest(loads)
        if blocks[0].number == 0:
            self._note_first_async(loads, indices, began)
        return began

    async def _hear_the_rest(self, loads: Sequence[SideLoad]) -> None:
        """Waits until every accepted request has been called back, the service has none left to call, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline - time.monotonic()):
                while any(load.missing for load in loads) and await self._expects_callbacks():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(ASK_EVERY_S):
                            await self._change()

    def _note_first_async(self, loads: Sequence[SideLoad], indices: range, began: float) -> None:
        for load in loads:
            if load.side.mode is Mode.ASYNC and self.first_async is None:
                times = load.samples.times_to_result()[indices.start : indices.stop]
                self.first_async = figures(times, self._tally, time.monotonic() - began)

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

    def _send(self, load: SideLoad, index: int) -> None:
        samples, plan, mode = load.samples, self.plan, load.side.mode
        body = plan.body(self.schedule.seeds[index])
        if mode is Mode.ASYNC:
            body["callback_url"] = f"{self.callback_base}{load.side.name}-{index}"
        headers = f"{self._run_line}{INDEX_HEADER}: {load.side.name}-{index}\r\n"
        data = self._client.message("POST", PATHS[mode], dumps(body), headers)
        due = load.starts[load.block_of(index)] + self.schedule.due[index]
        leaves = min(due + plan.timeout_of(mode), self._deadline)

        def sent() -> None:
            samples.sent[index] = load.since_start(index)

        def answered(status: int | None, body: bytes) -> None:
            # Its timer may be a little late; a client whose time is over has left.
            if time.monotonic() >= leaves:
                return
            self._tally.closes()
            timer.cancel()
            self._answered(load, index, status, body)

        def give_up() -> None:
            leave()
            self._tally.closes()
            if not load.heard[index]:
                samples.outcomes[index] = Outcome.CLIENT_TIMEOUT
            self._over()

        self._tally.opens()
        timer = asyncio.get_running_loop().call_at(leaves, give_up)
        leave = self._client.send(data, answered, sent)

    def _over(self) -> None:
        self._open -= 1
        if not self._open:
            self._changed.set()

    def _answered(self, load: SideLoad, index: int, status: int | None, body: bytes) -> None:
        samples = load.samples
        if status is not None:
            samples.accepted[index] = load.since_start(index)
        if load.side.mode is Mode.SYNC:
            samples.outcomes[index] = outcome_of(status, body)
            if status == 200:
                samples.result[index] = samples.accepted[index]
        # The callback may have been faster than the 202.
        elif not load.heard[index]:
            samples.outcomes[index] = Outcome.CALLBACK_LOST if status == 202 else outcome_of(status, body)
            # Where the answer was lost the service may have accepted the request, and will then call.
            if status not in {202, None}:
                load.missing.discard(index)
        self._over()

    def hear(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Takes a callback: the result is in the client's hands when it is there and its signature holds."""
        if not self._is_signed(headers, body):
            return 400
        name, _, digits = path.removeprefix(CALLBACK_PATH).partition("-")
        load = self.sides.get(name)
        index = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 8 else len(self.schedule)
        if load is None or not load.has_begun(index):
            return 200
        if attempt_of(headers) <= self.plan.callback_failures:
            return 503
        samples = load.samples
        if load.heard[index]:
            samples.duplicates += 1
            return 200
        completed = json.loads(body)["type"] == "report.completed"
        load.heard[index] = 1
        samples.result[index] = load.since_start(index) if completed else math.nan
        samples.outcomes[index] = Outcome.OK if completed else Outcome.JOB_FAILED
        load.missing.discard(index)
        if not any(each.missing for each in self.sides.values()):
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
    """The outcome of a final status, or of none; a 500 is a failed report only if its problem type says so."""
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
