"""`reportsim benchmark --self-test`: a frozen server must show in the percentiles as computed by hand.

An instrument that waits for answers before it sends the next request would hide the freeze (coordinated omission).
"""

import asyncio
import math
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiohttp

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.schedule import make_schedule
from reportsim.cli.errors import CommandError

FREEZE_S: Final = 2.0
SERVICE_S: Final = 0.02
# The overhead of a request, and what a service needs to catch up with two seconds' worth of requests.
OVERHEAD_MS: Final = 20.0
CATCH_UP_MS: Final = 250.0
# What one of ten requests must have waited: of a freeze that met fewer, these percentiles show nothing.
LEAST_MS: Final = 300.0
# How much later than they were due nine of ten requests may be sent.
LATE_MS: Final = 100.0
# How long nine of ten requests of the other side, which runs when the freeze is over, may take.
UNDISTURBED_MS: Final = 500.0
POLL_S: Final = 0.05
LEVELS: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "max": 1.0}
RUNNING: Final = frozenset({"PENDING", "RUNNING"})
PLAN: Final[Mapping[str, Any]] = {
    "rate": 12,
    "duration_s": 16,
    "blocks": 4,
    "arrivals": "constant",
    "workers": 32,
    "service_time": {"distribution": "fixed", "mean_ms": 1000 * SERVICE_S},
    "client_timeout_s": 10,
    "slo_s": 1,
}


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The percentiles of the side that was frozen, in milliseconds.

    `from_send_p90` counts from when requests were sent, not from when they were due: it is short if the freeze has held
    requests back. `other_p90` is that of the other side, which must show nothing of the freeze.
    """

    side: str
    by_hand: dict[str, float]
    measured: dict[str, float]
    from_send_p90: float
    other: str
    other_p90: float
    all_sent: bool

    @property
    def ok(self) -> bool:
        """Whether every percentile is what it must be, and no request was held back by the freeze."""
        is_on_time = self.all_sent and self.from_send_p90 > self.by_hand["p90"] - LATE_MS
        return (
            self.by_hand["p90"] > LEAST_MS
            and is_on_time
            and self.other_p90 < UNDISTURBED_MS
            and all(-OVERHEAD_MS < self.measured[level] - value < CATCH_UP_MS for level, value in self.by_hand.items())
        )


async def run_self_test(url: str, pid: int) -> SelfTest:
    """Runs a benchmark on a service of this machine, which is stopped for two seconds meanwhile."""
    plan = Plan.from_json(dict(PLAN))
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=120)) as session:
        run = await request_json(session, "POST", "/api/benchmark/both")
        path = run["links"]["self"]
        while not run["progress"] and run["status"] in RUNNING:
            await asyncio.sleep(POLL_S)
            run = await request_json(session, "GET", path)
        frozen_from, frozen_until = await freeze(pid)
        while run["status"] in RUNNING:
            run = await request_json(session, "GET", path, Prefer="wait=20")
    if run["status"] != "COMPLETED":
        raise CommandError(f"the run of the self-test ended as {run['status']}")
    side, other = (step[0].side.name for step in plan.steps[:2])
    [start] = [block["started_at"] for block in run["result"]["blocks"] if (block["side"], block["block"]) == (side, 1)]
    began = datetime.fromisoformat(start).timestamp()
    times = times_by_hand(plan, frozen_from - began, frozen_until - began)
    result = run["result"][side]
    return SelfTest(
        side=side,
        by_hand={level: times[math.ceil(share * len(times)) - 1] for level, share in LEVELS.items()},
        measured={level: result["time_to_result_ms"][level]["value"] for level in LEVELS},
        from_send_p90=result["from_send_ms"]["p90"]["value"],
        other=other,
        other_p90=run["result"][other]["time_to_result_ms"]["p90"]["value"],
        all_sent=result["sent"] == len(times),
    )


async def request_json(session: aiohttp.ClientSession, method: str, path: str, **headers: str) -> Any:
    """The JSON of a response; a POST sends the plan.

    Raises:
        CommandError: The service refuses, is gone, or does not respond.
    """
    body = dict(PLAN) if method == "POST" else None
    try:
        async with session.request(method, path, json=body, headers=headers, raise_for_status=True) as response:
            return await response.json()
    except (aiohttp.ClientError, ValueError) as error:
        raise CommandError(f"the self-test failed: {error}") from None
    except TimeoutError:
        raise CommandError("the self-test failed: the service does not respond") from None


async def freeze(pid: int) -> tuple[float, float]:
    """Stops a process for a while; returns when it was stopped and continued."""
    os.kill(pid, signal.SIGSTOP)
    stopped = time.time()
    try:
        await asyncio.sleep(FREEZE_S)
    finally:
        os.kill(pid, signal.SIGCONT)
    return stopped, time.time()


def times_by_hand(plan: Plan, frozen_from: float, frozen_until: float) -> list[float]:
    """The times to result in ascending milliseconds; requests of the first block that met the freeze waited."""
    schedule = make_schedule(plan)
    first = schedule.blocks[0]
    times = []
    for index, due in enumerate(schedule.due):
        met = index in first and due + SERVICE_S > frozen_from and due < frozen_until
        times.append(1000 * (max(SERVICE_S, frozen_until - due) if met else SERVICE_S))
    return sorted(times)
