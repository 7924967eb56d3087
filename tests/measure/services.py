"""A service of both patterns, which does with each request what a test says, and logs what it did."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from reportsim.benchmark.workload import Arrivals
from reportsim.core.model import Mode
from reportsim.measure.plan import MeasurePlan
from reportsim.measure.target.model import Poll, Target
from reportsim.measure.target.reader import read_target

Fault = Callable[[int], str]


def fine(index: int) -> str:
    """Does nothing wrong."""
    return ""


@dataclass
class Service:
    """What it does by the number of a request; seconds of work come from `work_s`."""

    fault: Fault = fine
    work_s: Callable[[int], float] = lambda index: 0.01
    notify_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    did: Counter[str] = field(default_factory=Counter)
    polls: dict[int, list[float]] = field(default_factory=dict)
    accepted_at: dict[int, float] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    url: str = ""
    session: aiohttp.ClientSession | None = None
    streams: list[asyncio.Queue[dict[str, Any]]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def report(self, request: web.Request) -> web.Response:
        """The sync endpoint."""
        index = int((await request.json())["n"])
        fault = self.fault(index)
        self.did[f"sync {fault}"] += 1
        if fault == "hangs":
            await asyncio.sleep(60)
        if fault == "sheds":
            return web.Response(status=503)
        await asyncio.sleep(self.work_s(index))
        return web.json_response({"state": "error" if fault == "fails" else "ok"}, headers=self.headers)

    async def accept(self, request: web.Request) -> web.Response:
        """The async endpoint."""
        body = await request.json()
        index = int(body["n"])
        fault = self.fault(index)
        self.did[f"async {fault}"] += 1
        if fault == "hangs":
            await asyncio.sleep(60)
        if fault == "sheds":
            return web.Response(status=503)
        if fault == "early":
            await self.notify(index, body, fault)
        else:
            task = asyncio.create_task(self.work(index, body, fault))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        self.accepted_at[index] = time.monotonic()
        id = {} if fault == "nameless" else {"id": f"job/{index}"}
        location = "http://elsewhere.example/jobs" if fault == "elsewhere" else f"/jobs/job%2F{index}"
        return web.json_response(id, status=202, headers={"Location": location, **self.headers})

    async def work(self, index: int, body: dict[str, Any], fault: str) -> None:
        """The work behind a 202."""
        await asyncio.sleep(self.work_s(index))
        if fault == "loses":
            return
        if fault == "tardy":
            await asyncio.sleep(1.0)
        self.done.add(index)
        await asyncio.sleep(self.notify_s)
        await self.notify(index, body, fault)
        if fault == "repeats":
            await self.notify(index, body, fault)

    async def notify(self, index: int, body: dict[str, Any], fault: str) -> None:
        """Tells of a result by a callback and by the streams."""
        event = {"id": f"job/{index}", "state": "error" if fault == "fails" else "ok"}
        if fault == "unknown":
            event["id"] = "nobody"
        for stream in self.streams:
            stream.put_nowait(event)
        if url := body.get("notify"):
            assert self.session is not None
            headers = {"X-Signature": "forged"} if fault == "forged" else {}
            if fault == "unknown" and (path := url.removesuffix(f"/{index}")) != url:
                url = f"{path}/99999"
            async with self.session.post(url, json=event, headers={"X-Key": body.get("key", ""), **headers}) as answer:
                assert answer.status == 204

    async def show(self, request: web.Request) -> web.Response:
        """The state of a job, for those who poll."""
        index = int(request.match_info["id"].removeprefix("job/"))
        self.polls.setdefault(index, []).append(time.monotonic())
        if self.fault(index) == "stumbles" and len(self.polls[index]) == 1:
            return web.Response(status=500)
        state = "ok" if index in self.done else "running"
        if state == "ok" and self.fault(index) == "fails":
            state = "error"
        return web.json_response({"state": state}, headers=self.headers)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The stream of all results, or of one job's."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.streams.append(queue)
        id = request.query.get("id")
        try:
            while True:
                event = await queue.get()
                if id in {None, event["id"]}:
                    await response.write(f"data: {json.dumps(event)}\n\n".encode())
        finally:
            self.streams.remove(queue)
        return response

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        """Serves on loopback as long as the context lasts."""
        app = web.Application()
        app.router.add_post("/report", self.report)
        app.router.add_post("/jobs", self.accept)
        app.router.add_get("/jobs/{id}", self.show)
        app.router.add_get("/events", self.events)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self.session:
            try:
                yield self
            finally:
                for task in list(self.tasks):
                    task.cancel()
                await asyncio.gather(*self.tasks, return_exceptions=True)
                await runner.cleanup()


SYNC = """
[sync]
request = {url = "URL/report", body = {n = "${index}"}}
result = {pointer = "/state", done = ["ok"], failed = ["error"]}
"""
CALLBACK = """
[async]
request = {url = "URL/jobs", body = {n = "${index}", key = "${key}", notify = "${callback_url}"}}
[async.callback]
listen = "127.0.0.1:0"
status = {pointer = "/state", done = ["ok"], failed = ["error"]}
"""
CALLBACK_BY_ID = CALLBACK.replace("[async.callback]", 'accepted = {id = {pointer = "/id"}}\n[async.callback]') + (
    'id = {pointer = "/id"}\n'
)
CALLBACK_BY_KEY = CALLBACK + 'id = {header = "X-Key"}\n'
POLL = """
[async]
request = {url = "URL/jobs", body = {n = "${index}"}}
accepted = {id = {pointer = "/id"}}
[async.poll]
url = "URL/jobs/${id}"
interval_s = 0.2
status = {pointer = "/state", done = ["ok"], failed = ["error"]}
"""
POLL_LOCATION = POLL.replace("URL/jobs/${id}", "${location}")
SSE = """
[async]
request = {url = "URL/jobs", body = {n = "${index}"}}
accepted = {id = {pointer = "/id"}}
[async.sse]
url = "URL/events"
id = {pointer = "/id"}
status = {pointer = "/state", done = ["ok"], failed = ["error"]}
"""
SSE_EACH = SSE.replace("/events", "/events?id=${id}").replace('id = {pointer = "/id"}\nstatus', "status")
WAYS = {
    "callback by path": CALLBACK,
    "callback by id": CALLBACK_BY_ID,
    "callback by key": CALLBACK_BY_KEY,
    "poll": POLL,
    "poll by location": POLL_LOCATION,
    "sse": SSE,
    "sse each": SSE_EACH,
}
LIMITS = "[limits]\nclient_timeout_s = 0.4\nresult_deadline_s = 1.2\nsettle_s = 0.1\n"


def target_for(service: Service, *parts: str, limits: str = LIMITS) -> Target:
    """A target file made of parts, for a running service."""
    return read_target("".join((*parts, limits)).replace("URL", service.url), {})


def plan_for(target: Target, **more: Any) -> MeasurePlan:
    """A second of load for a target."""
    sides = ((Mode.SYNC, target.sync), (Mode.ASYNC, target.later))
    given: dict[str, Any] = {"rate": 200, "duration_s": 1, "blocks": 1, "arrivals": Arrivals.CONSTANT, **more}
    return MeasurePlan(
        patterns=tuple(mode for mode, side in sides if side is not None),
        client_timeout_s=target.limits.client_timeout_s,
        slo_s=600,
        result_deadline_s=target.limits.result_deadline_s,
        polled=target.later is not None and isinstance(target.later.way, Poll),
        **given,
    )
