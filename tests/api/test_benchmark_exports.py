"""Exports and result pages: places of each client, none of which a page waits for."""

import asyncio
import contextlib
from typing import Any

from reportsim.pages.benchmarks import RESULT_CACHE
from reportsim.settings import Settings
from reportsim.web.limits.concurrency_limit import EXPORT_LIMIT, MAX_EXPORTS, MAX_EXPORTS_PER_CLIENT
from reportsim.web.server import send_buffers
from tests.benchmark.test_runner import SMALL, ended, started
from tests.conftest import Service, serving
from tests.web.test_slow_clients import becomes, ends, get, unread


async def status(service: Service, path: str) -> int:
    async with service.client.get(path) as answer:
        await answer.read()
        return answer.status


async def test_slow_readers_of_exports_keep_nobody_from_results(settings: Settings) -> None:
    async with serving(settings) as service:
        id = await started(service, SMALL)
        run = await ended(service, id)
        assert run["result"], run
        samples, report, page = run["links"]["samples"], run["links"]["report"], f"/benchmarks/{id}"
        async with contextlib.AsyncExitStack() as stack:
            limit = service.app[EXPORT_LIMIT]
            mine = [stack.enter_context(limit.permit("127.0.0.1")) for _ in range(MAX_EXPORTS_PER_CLIENT)]
            # A client that has its places is told so; others have theirs.
            assert await status(service, samples) == 429
            assert await status(service, report) == 429
            stack.enter_context(limit.permit("192.0.2.1"))
            assert len(mine) < MAX_EXPORTS
            # All places taken: pages are drawn all the same, each once for all who look.
            stack.enter_context(limit.permit("192.0.2.2"))
            assert set(await asyncio.gather(*(status(service, page) for _ in range(5)))) == {200}
            assert len(service.app[RESULT_CACHE]) == 1
        assert await status(service, samples) == 200
        async with service.client.get(report) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy
            assert "default-src 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            text = await answer.text()
        # Browsers do not take that from within a document.
        assert "frame-ancestors" not in text.partition("</head>")[0]


async def test_an_export_that_is_not_read_gives_its_place_back(settings: Settings, monkeypatch: Any) -> None:
    monkeypatch.setattr(send_buffers, "STALL_S", 0.3)
    monkeypatch.setattr("reportsim.api.benchmarks.get_finished_run", found)
    monkeypatch.setattr("reportsim.benchmark.report.render_process.read_pieces", endless)
    async with serving(settings) as service:
        limit = service.app[EXPORT_LIMIT]
        async with unread(service.url, get("/api/benchmark/01a20c3d/samples.csv")) as client:
            await becomes(lambda: limit._permits.total() == 1)
            await becomes(lambda: limit._permits.total() == 0)
            assert await ends(client)


async def found(_: Any) -> Any:
    """A run as far as an export looks at it."""

    class Run:
        id = "run"

        def as_json(self) -> dict[str, Any]:
            return {}

    return Run(), (b"", b"")


async def endless(*_: Any) -> Any:
    """An export that never ends."""
    while True:
        yield b"x" * 60_000
