"""A service whose delays are known: `python -m benchmarks.artificial_service fixed`, or with a seed.

Sync requests take 50 ms; async ones 50 ms until their result is there, and 30 ms more until they are called back. With
a seed both are means of exponential distributions. It prints its port; `GET /figures` says how long it has taken, in
milliseconds.
"""

import asyncio
import statistics
import sys
import time
from collections import defaultdict
from random import Random

import aiohttp
from aiohttp import web

WORK_S, NOTIFY_S = 0.05, 0.03


class Artificial:
    """The service, and what it saw of itself."""

    def __init__(self, source: Random | None) -> None:
        self.source = source
        self.seen: dict[str, list[float]] = defaultdict(list)
        self.states: dict[str, str] = {}
        self.began: dict[str, float] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.session: aiohttp.ClientSession | None = None

    def draw(self, mean_s: float) -> float:
        """A delay."""
        return mean_s if self.source is None else self.source.expovariate(1 / mean_s)

    async def report(self, request: web.Request) -> web.Response:
        began = time.monotonic()
        await asyncio.sleep(self.draw(WORK_S))
        self.note("sync", began)
        return web.json_response({"state": "ok"})

    async def accept(self, request: web.Request) -> web.Response:
        began = time.monotonic()
        id = str(len(self.states))
        self.states[id], self.began[id] = "running", began
        task = asyncio.create_task(self.work(id, began, (await request.json()).get("notify")))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return web.json_response({"id": id}, status=202, headers={"Location": f"/jobs/{id}"})

    async def work(self, id: str, began: float, notify: str | None) -> None:
        await asyncio.sleep(self.draw(WORK_S))
        self.states[id] = "ok"
        self.note("ready", began)
        if notify:
            await asyncio.sleep(self.draw(NOTIFY_S))
            self.note("called", began)
            assert self.session is not None
            async with self.session.post(notify, json={"state": "ok"}):
                pass

    async def show(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        if self.states[id] == "ok":
            self.note("polled", self.began[id])
        return web.json_response({"state": self.states[id]})

    def note(self, what: str, began: float) -> None:
        self.seen[what].append(1000 * (time.monotonic() - began))

    async def figures(self, request: web.Request) -> web.Response:
        means = {name: statistics.fmean(values) for name, values in self.seen.items()}
        medians = {f"{name}_median": statistics.median(values) for name, values in self.seen.items()}
        return web.json_response(means | medians)


async def main(seed: str) -> None:
    """Serves until it is killed."""
    service, app = Artificial(None if seed == "fixed" else Random(int(seed))), web.Application()
    app.router.add_post("/report", service.report)
    app.router.add_post("/jobs", service.accept)
    app.router.add_get("/jobs/{id}", service.show)
    app.router.add_get("/figures", service.figures)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    service.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
