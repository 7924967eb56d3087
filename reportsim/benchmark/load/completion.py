"""Four ways to learn the result of a request that was accepted for later, under the same load: what each one costs.

The callback's figures are those of the first async block; the others get that block's arrivals and service times again.
"""

import asyncio
import json
import math
import time
from array import array
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from reportsim.benchmark.load.http_client import Client
from reportsim.benchmark.plan import MOST_DRAIN_S, Plan
from reportsim.benchmark.schedule import Schedule
from reportsim.benchmark.server_recorder import Area
from reportsim.benchmark.statistics.intervals import BlockTimes
from reportsim.benchmark.statistics.percentile_levels import LEVELS
from reportsim.core.json import dumps
from reportsim.tasks import start

Json = dict[str, Any]
# The poll interval that the service's Retry-After asks for.
POLL_S: Final = 1.0
HELD_S: Final = 20
ENDED: Final = frozenset({"COMPLETED", "FAILED"})
START_IN_S: Final = 0.05
# A client without a result after this time gives up; less than the service waits for this process.
PATIENCE_S: Final = MOST_DRAIN_S + 240.0
# Failed polls in a row after which a client gives up.
MOST_FAILED_LOOKS: Final = 5


class Way(StrEnum):
    """How a client learns the result."""

    WEBHOOK = "webhook"
    """The service calls."""
    POLLING = "polling"
    """It asks every second, as Retry-After says."""
    LONG_POLL = "long_poll"
    """It asks once and is held, by `Prefer: wait`, until the request has ended or twenty seconds are over."""
    SSE = "sse"
    """It opens a stream of the request's events, polls once, and listens."""


ASKING: Final = (Way.POLLING, Way.LONG_POLL, Way.SSE)


class Tally:
    """What clients spend: requests on the wire, and connections held."""

    def __init__(self) -> None:
        """Counts from now on."""
        self.requests = 0
        self.held = Area()

    def opens(self) -> None:
        """A request is sent."""
        self.requests += 1
        self.held.change(+1, time.monotonic())

    def closes(self) -> None:
        """Its connection is free again, or gone."""
        self.held.change(-1, time.monotonic())


class Asking:
    """One block of the load whose clients ask for their results."""

    def __init__(self, way: Way, client: Client, plan: Plan, schedule: Schedule, run_line: str) -> None:
        """Takes a schedule, of which the first block that has requests is run."""
        self._way = way
        self._client = client
        self._plan = plan
        self._schedule = schedule
        self._run_line = run_line
        self._tally = Tally()
        self._indices = schedule.blocks[schedule.first_busy_block]
        self._start = 0.0
        self._times = array("d", [math.inf]) * len(self._indices)

    async def run(self) -> Json:
        """Runs the block and returns the figures once every client has its result."""
        self._start = time.monotonic() + START_IN_S
        clients: set[asyncio.Task[None]] = set()
        for index in self._indices:
            due = self._start + self._schedule.due[index]
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            clients.add(start(self._learn(index), name=f"learn-{index}"))
        if clients:
            _, late = await asyncio.wait(clients, timeout=PATIENCE_S)
            for client in late:
                client.cancel()
        for outcome in await asyncio.gather(*clients, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        return figures(self._times, self._tally, time.monotonic() - self._start)

    async def _learn(self, index: int) -> None:
        body = dumps(self._plan.body(self._schedule.seeds[index]))
        status, answer = await self._ask("POST", "/api/async", body)
        if status != 202:
            return
        id = json.loads(answer)["id"]
        match self._way:
            case Way.SSE:
                ended = await self._listen(id)
            case Way.LONG_POLL:
                ended = await self._look_until(id, 0.0, f"Prefer: wait={HELD_S}\r\n")
            case _:
                ended = await self._look_until(id, POLL_S)
        if ended == "COMPLETED":
            self._times[index - self._indices.start] = time.monotonic() - self._start - self._schedule.due[index]

    async def _ask(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int | None, bytes]:
        self._tally.opens()
        try:
            return await self._client.ask(self._client.message(method, path, body, self._run_line + headers))
        finally:
            self._tally.closes()

    async def _look(self, id: str, headers: str = "") -> str | None:
        status, answer = await self._ask("GET", f"/api/requests/{id}", headers=headers)
        return json.loads(answer)["status"] if status == 200 else None

    async def _look_until(self, id: str, between_s: float, headers: str = "") -> str | None:
        failed = 0
        while failed < MOST_FAILED_LOOKS:
            await asyncio.sleep(POLL_S if failed else between_s)
            state = await self._look(id, headers)
            if state in ENDED:
                return state
            failed = failed + 1 if state is None else 0
        return None

    async def _listen(self, id: str) -> str | None:
        """Opens the stream before it polls, so that no event is missed in between."""
        self._tally.opens()
        try:
            reader, writer = await self._client.connect()
        except OSError:
            self._tally.closes()
            return None
        try:
            path = f"/api/events?request_id={id}"
            writer.write(self._client.message("GET", path, headers=f"{self._run_line}Connection: close\r\n"))
            await reader.readuntil(b"\r\n\r\n")
            state = await self._look(id)
            while state is not None and state not in ENDED:
                line = await reader.readline()
                if line.startswith(b"event: reset") or not line:
                    # Events may have been missed, or the stream has ended: poll from now on.
                    return await self._look_until(id, POLL_S)
                if line.startswith(b"data: {"):
                    items = json.loads(line.removeprefix(b"data: ")).get("items", ())
                    state = next((item["status"] for item in items if item["id"] == id), state)
            return state
        except (OSError, EOFError):
            return None
        finally:
            writer.transport.abort()
            self._tally.closes()


def figures(times_s: Iterable[float], tally: Tally, elapsed_s: float) -> Json:
    """What one way came to; requests are all that went over the wire, in either direction."""
    times = [1000 * each for each in times_s]
    found = BlockTimes([times])
    results = sum(each < math.inf for each in times)
    # Without a request it ends before it begins.
    mean = tally.held.total / elapsed_s if elapsed_s > 0 else 0.0
    return {
        "offered": len(times),
        "results": results,
        "time_to_result_ms": {
            **{level: found.quantile(share).as_json() for level, share in LEVELS.items()},
            "max": found.maximum().as_json(),
        },
        "requests": tally.requests,
        "requests_per_result": round(tally.requests / results, 3) if results else None,
        "connections": {"mean": round(mean, 6), "max": tally.held.most},
    }
