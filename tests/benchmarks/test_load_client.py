"""The load client that stands in for wrk: keys that differ, answers that are counted, errors that are not hidden."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.harness.client import load
from benchmarks.harness.load import posts


@dataclass
class Receiver:
    """A server that answers every second request with an error."""

    url: str = ""
    keys: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        assert await request.json() == {"a": 1}
        self.keys.append(request.headers["X-Idempotency-Key"])
        return web.Response(status=202 if len(self.keys) % 2 else 500, body=b"x" * 70_000)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/later", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/later"))
        yield receiver


async def test_every_answer_is_counted_and_every_request_has_a_key_of_its_own(receiver: Receiver) -> None:
    async with asyncio.timeout(20):
        found = await load(receiver.url, json.dumps({"a": 1}), 0.5, 4)
    seen = len(receiver.keys)
    assert len(set(receiver.keys)) == seen > 8
    # What was on its way at the end is not counted.
    assert seen - 4 <= round(found.rate * found.seconds) <= seen
    assert seen // 2 - 4 <= found.errors <= seen // 2
    assert 0 < found.p50 <= found.p99


async def test_without_wrk_the_client_runs_in_a_process_of_its_own(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    found = await asyncio.to_thread(posts, receiver.url, {"a": 1}, seconds=1, clients=2)
    assert found.rate > 0
    assert found.errors > 0
