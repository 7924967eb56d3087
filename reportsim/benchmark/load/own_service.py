"""A reportsim service as the target of a load: its paths and bodies, its callbacks, and when no more of them come."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from reportsim.benchmark.load.completion import Asking, Tally, Way, figures
from reportsim.benchmark.load.generator import Generator
from reportsim.benchmark.load.http_client import Client
from reportsim.benchmark.load.messages import CALLBACK_PATH, INDEX_HEADER, RUN_HEADER, WARM_UP, Order
from reportsim.benchmark.load.side_load import SideLoad
from reportsim.benchmark.plan import MOST_DRAIN_S, Plan
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.workload import Block, Side
from reportsim.core.json import dumps
from reportsim.core.model import Mode
from reportsim.core.signing import is_signed_by, parse_secret

Json = dict[str, Any]
# For how long after its load a block is waited for: longer than the longest backlog takes, shorter than the service
# waits for this process.
PATIENCE_S: Final = MOST_DRAIN_S + 240.0
# Connections that are opened before a block: a burst of more requests opens the others as it is sent.
MOST_AHEAD: Final = 200
CONNECT_S: Final = 1.0
FAILED_REPORT: Final = b"/problems/report-failed"
PATHS: Final = {Mode.SYNC: "/api/sync", Mode.ASYNC: "/api/async"}


class OwnService:
    """The service that a run was ordered by."""

    def __init__(self, order: Order, plan: Plan) -> None:
        """Prepares the schedule; callbacks are to come to `callback_base`, side and index."""
        self.plan = plan
        self.schedule = make_schedule(plan)
        self.generator = Generator(
            plan, self.schedule.due, self.schedule.bounds, self, patience_s=PATIENCE_S, recorded=True
        )
        self._client = Client(order.host, order.port, order.host_header)
        self._run_line = f"{RUN_HEADER}: {order.token}\r\n"
        self._run = order.run
        self.callback_base = ""
        self._secrets = [parse_secret(secret) for secret in order.secrets]
        self.first_async: Json | None = None
        self._tally = Tally()

    @property
    def sides(self) -> dict[str, SideLoad]:
        """Both sides."""
        return self.generator.sides

    @property
    def samples(self) -> dict[str, Samples]:
        """What was recorded, by side."""
        return self.generator.samples

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

    async def connect(self, blocks: Sequence[Block]) -> None:
        """Has a connection ready for each request that is sent at the same moment.

        The service accepts one connection in a turn of its event loop. Of a burst on new ones, the last would wait in
        the kernel for as many turns as there are requests, which the service cannot see.
        """
        number = blocks[0].number
        due = Counter(self.schedule.due[self.schedule.bounds[number] : self.schedule.bounds[number + 1]])
        at_once = len(blocks) * max(due.values(), default=0)
        check = self._client.message("GET", "/healthz")
        if at_once > 1:
            checks = (self._client.ask(check, within=CONNECT_S) for _ in range(min(at_once, MOST_AHEAD)))
            await asyncio.gather(*checks)

    async def run(self, blocks: Sequence[Block]) -> float:
        """Runs one block, or both sides' at once, to the end and returns the start on the monotonic clock."""
        await self.connect(blocks)
        self._tally = Tally()
        began = await self.generator.run(blocks)
        if blocks[0].number == self.schedule.first_busy_block:
            self._note_first_async([self.sides[block.side.name] for block in blocks], began)
        return began

    def _note_first_async(self, loads: Sequence[SideLoad], began: float) -> None:
        for load in loads:
            if load.side.mode is Mode.ASYNC and self.first_async is None:
                block = self.schedule.blocks[self.schedule.first_busy_block]
                times = load.samples.times_to_result()[block.start : block.stop]
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

    async def expects_results(self, loads: Sequence[SideLoad]) -> bool:
        """Whether any callback of this run has not been delivered or given up yet."""
        path = f"/api/requests?run={self._run}&callback_status=PENDING&limit=1"
        status, body = await self._client.ask(self._client.message("GET", path))
        return status != 200 or bool(json.loads(body)["items"])

    def send(self, load: SideLoad, index: int, deadline: float) -> None:
        """Sends a request of the plan."""
        plan, mode = self.plan, load.side.mode
        body = plan.body(self.schedule.seeds[index])
        if mode is Mode.ASYNC:
            body["callback_url"] = f"{self.callback_base}{load.side.name}-{index}"
        headers = f"{self._run_line}{INDEX_HEADER}: {load.side.name}-{index}\r\n"
        data = self._client.message("POST", PATHS[mode], dumps(body), headers)
        leaves = min(load.due_at(index) + plan.timeout_of(mode), deadline)

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
            load.leave(index, may_result=mode is Mode.ASYNC)

        self._tally.opens()
        timer = asyncio.get_running_loop().call_at(leaves, give_up)
        leave = self._client.send(data, answered, lambda: load.send(index))

    def _answered(self, load: SideLoad, index: int, status: int | None, body: bytes) -> None:
        outcome = outcome_of(status, body)
        if load.side.mode is Mode.ASYNC and status == 202:
            outcome = Outcome.CALLBACK_LOST
        # Where the answer was lost the service may have accepted the request, and will then call.
        load.answer(index, outcome, responded=status is not None, may_result=status in {202, None})

    def hear(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Takes a callback: the result is in the client's hands when it is there and its signature holds."""
        if not is_signed_by(self._secrets, headers, body):
            return 400
        name, _, digits = path.removeprefix(CALLBACK_PATH).partition("-")
        load = self.sides.get(name)
        index = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 8 else len(self.schedule)
        if load is None or not load.has_begun(index):
            return 200
        if attempt_of(headers) <= self.plan.callback_failures:
            return 503
        completed = json.loads(body)["type"] == "report.completed"
        load.hear(index, Outcome.OK if completed else Outcome.JOB_FAILED)
        return 200


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
