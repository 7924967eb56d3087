"""The load client that stands in for wrk: keys that differ, answers that are counted, errors that are not hidden."""

import asyncio
import json

from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.harness.client import load


async def test_every_answer_is_counted_and_every_request_has_a_key_of_its_own() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        assert await request.json() == {"a": 1}
        seen.append(request.headers["X-Idempotency-Key"])
        return web.Response(status=202 if len(seen) % 2 else 500, body=b"x" * 70_000)

    app = web.Application()
    app.router.add_post("/later", handle)
    async with TestServer(app) as server:
        async with asyncio.timeout(20):
            found = await load(str(server.make_url("/later")), json.dumps({"a": 1}), 0.5, 4)
    assert len(set(seen)) == len(seen) > 8
    assert 0 < found.rate * 0.4 <= len(seen)
    assert len(seen) // 2 - 4 <= found.errors <= len(seen) // 2
    assert 0 < found.p50 <= found.p99
