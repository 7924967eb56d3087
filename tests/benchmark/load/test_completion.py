"""Clients that ask for their results: each learns its own exactly once, also where an answer or an event was lost."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from reportsim.benchmark.load import completion
from reportsim.benchmark.load.completion import ASKING, Asking, Way
from reportsim.benchmark.load.http_client import Client
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.workload import Arrivals

PLAN: Final = Plan(rate=4, duration_s=1, arrivals=Arrivals.BURST, together=True, workers=1)


class Forgetful:
    """A service whose first looks get no answer, and whose streams are reset before the end is told."""

    def __init__(self, ending: bytes) -> None:
        self.looks: Counter[str] = Counter()
        self._ending = ending

    async def accept(self, request: web.Request) -> web.Response:
        self.looks[str(len(self.looks))] = 0
        return web.json_response({"id": str(len(self.looks) - 1)}, status=202)

    async def show(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        self.looks[id] += 1
        if self.looks[id] == 1:
            return web.json_response({"status": "PROCESSING"})
        return web.json_response({"status": "COMPLETED"}, status=503 if self.looks[id] == 2 else 200)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        id = request.query["request_id"]
        items = json.dumps({"items": [{"id": id, "status": "PROCESSING"}]})
        await response.write(f"event: requests\ndata: {items}\n\n".encode() + self._ending)
        if self._ending:
            # As after a reset: nothing of this request is told any more.
            while request.transport is not None and not request.transport.is_closing():
                if self.looks[id] >= 3:
                    break
                await asyncio.sleep(0.01)
        return response


@pytest.fixture(params=[b"event: reset\ndata: {}\n\n", b""], ids=["reset", "cut"])
async def port(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    service, app = Forgetful(request.param), web.Application()
    app.router.add_post("/api/async", service.accept)
    app.router.add_get("/api/requests/{id}", service.show)
    app.router.add_get("/api/events", service.stream)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


@pytest.mark.parametrize("way", ASKING)
async def test_a_look_that_failed_and_a_stream_that_ended_lose_no_result(
    port: int, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 0.02)
    client = Client("127.0.0.1", port, "h")
    async with asyncio.timeout(20):
        found = await Asking(way, client, PLAN, make_schedule(PLAN), "").run()
    assert (found["offered"], found["results"]) == (len(make_schedule(PLAN).blocks[0]),) * 2


# Seeds with which the first block has no request, and no block has one.
@pytest.mark.parametrize(
    ("plan", "number"),
    [
        (Plan(rate=1, duration_s=10, ways=True, seed=1), 3),
        (Plan(rate=0.1, duration_s=2, blocks=2, ways=True, seed=1), 0),
    ],
    ids=["an empty first block", "no request"],
)
@pytest.mark.parametrize("way", ASKING)
async def test_the_first_block_that_has_requests_is_the_one_that_is_asked_for(
    port: int, monkeypatch: pytest.MonkeyPatch, way: Way, plan: Plan, number: int
) -> None:
    monkeypatch.setattr(completion, "POLL_S", 0.02)
    schedule = make_schedule(plan)
    assert not schedule.blocks[0]
    assert schedule.first_busy_block == number
    count = len(schedule.blocks[number])
    assert bool(count) is (number > 0)
    async with asyncio.timeout(20):
        found = await Asking(way, Client("127.0.0.1", port, "h"), plan, schedule, "").run()
    assert (found["offered"], found["results"]) == (count, count)
    assert found["connections"]["mean"] >= 0


async def test_a_client_whose_service_is_gone_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "POLL_S", 0.01)
    client = Client("127.0.0.1", 9, "h")
    asking = Asking(Way.POLLING, client, PLAN, make_schedule(PLAN), "")
    async with asyncio.timeout(20):
        assert await asking._look_until("x", 0.0) is None
