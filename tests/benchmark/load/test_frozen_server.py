"""The self-test of the instrument: a server that stands still shows in the percentiles as computed by hand."""

import asyncio
import math
import os
import signal
import time
from datetime import datetime
from typing import Any, Final

import aiohttp
import pytest

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.schedule import make_schedule
from tests.faults.conftest import own_dsn, server
from tests.faults.process import ServerProcess

__all__ = ["own_dsn", "server"]

pytestmark = pytest.mark.slow

FREEZE_S: Final = 2.0
USUAL_S: Final = 0.02
CATCH_UP_MS: Final = 250
PLAN: Final = {
    "rate": 12,
    "duration_s": 16,
    "blocks": 4,
    "arrivals": "constant",
    "workers": 32,
    "service_time": {"distribution": "fixed", "mean_ms": 1000 * USUAL_S},
    "client_timeout_s": 10,
    "slo_s": 1,
}


async def test_a_frozen_server_shows_up_as_computed_by_hand(server: ServerProcess) -> None:
    async with aiohttp.ClientSession(server.url) as client:
        async with client.post("/api/benchmark/both", json=PLAN) as answer:
            run: Any = await answer.json()
        path = run["links"]["self"]
        while not (run["progress"] or run["status"] not in {"PENDING", "RUNNING"}):
            await asyncio.sleep(0.05)
            async with client.get(path) as answer:
                run = await answer.json()
        # The first block of sync has begun, which goes on for four seconds.
        os.kill(server.pid, signal.SIGSTOP)
        stopped = time.time()
        await asyncio.sleep(FREEZE_S)
        os.kill(server.pid, signal.SIGCONT)
        went_on = time.time()
        while run["status"] in {"PENDING", "RUNNING"}:
            async with client.get(path, headers={"Prefer": "wait=20"}) as answer:
                run = await answer.json()
    assert run["status"] == "COMPLETED", run["error"]
    result = run["result"]
    [first] = [block for block in result["blocks"] if (block["side"], block["block"]) == ("sync", 1)]
    start = datetime.fromisoformat(first["started_at"]).timestamp()
    frozen_from, frozen_until = stopped - start, went_on - start
    assert 0 < frozen_from < 2.0

    # By hand: whoever was due while it stood still, or was being served, waited for its end; all others did not.
    plan = Plan.from_json(PLAN)
    half = make_schedule(plan).bounds[1]
    times = [
        max(USUAL_S, frozen_until - due) if index < half and due + USUAL_S > frozen_from else USUAL_S
        for index, due in enumerate(make_schedule(plan).due)
    ]
    expected = sorted(1000 * max(each, USUAL_S) for each in times)
    measured = result["sync"]["time_to_result_ms"]
    for level, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("max", 1.0)):
        by_hand = expected[math.ceil(share * len(expected)) - 1]
        # When it goes on, it has to catch up with two seconds' worth of requests.
        assert by_hand - 20 < measured[level]["value"] < by_hand + CATCH_UP_MS, level
    # Sent on time all the same: an instrument that waits for answers would have sent nothing meanwhile.
    assert result["sync"]["sent"] == len(times)
    assert result["sync"]["from_send_ms"]["p90"]["value"] > expected[math.ceil(0.9 * len(expected)) - 1] - 100
    assert result["async"]["time_to_result_ms"]["p90"]["value"] < 500
