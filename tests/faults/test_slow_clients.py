"""A server that clients lean on: they take all descriptors, or ask for much and read nothing."""

import asyncio
import contextlib
import resource
from pathlib import Path

import psutil
import pytest

from reportsim.web.server.listener import RESERVED_FILES
from tests.api.calls import TINY
from tests.engine.jobs import until
from tests.faults.process import Api, ServerProcess
from tests.web.raw import exchange
from tests.web.test_slow_clients import get, unread

FILES = 2_000
LEDGER = {"ledger": "demo", "report_type": "general_ledger"}
LARGE = {**TINY, "report_type": "general_ledger", "account_codes": [f"{number:060d}" for number in range(1_000)]}


async def is_healthy(api: Api) -> bool:
    """Whether the server answers at once, and does work."""
    async with asyncio.timeout(5):
        async with api.session.get("/healthz") as answer:
            healthy = answer.status == 200
        async with api.session.post("/api/sync", json=TINY) as answer:
            return healthy and answer.status == 200


async def connects(url: str) -> bool:
    """Whether a new connection is answered."""
    with contextlib.suppress(OSError, TimeoutError):
        return (await exchange(url, get("/healthz"), timeout=2)).status == 200
    return False


@pytest.fixture
def files() -> None:
    """Room for the test's own connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16_384), most))


@pytest.mark.usefixtures("files")
async def test_a_server_without_descriptors_takes_connections_again(server: ServerProcess) -> None:
    process = psutil.Process(server.pid)
    async with server.client() as api:
        assert await is_healthy(api)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 20, process.rlimit(psutil.RLIMIT_NOFILE)[1]))
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(60):
                await stack.enter_async_context(unread(server.url, b""))
            # A connection that is there is served, whatever cannot be opened.
            await asyncio.sleep(1.5)
            async with asyncio.timeout(5), api.session.get("/healthz") as answer:
                assert answer.status == 200
        await until(lambda: connects(server.url), timeout=10)
        assert await is_healthy(api)
    assert server.log.count("\n") < 200


@pytest.mark.slow
@pytest.mark.usefixtures("files")
async def test_clients_that_read_nothing_take_neither_memory_nor_descriptors(own_dsn: str, tmp_path: Path) -> None:
    environ = {"REPORTSIM_DEMO_LINES": "20000", "REPORTSIM_CONNECTIONS_MAX": str(FILES - RESERVED_FILES)}
    async with ServerProcess(own_dsn, tmp_path, **environ) as server, server.client() as api:
        process = psutil.Process(server.pid)
        process.rlimit(psutil.RLIMIT_NOFILE, (FILES, process.rlimit(psutil.RLIMIT_NOFILE)[1]))
        async with api.session.post("/api/sync", json=LEDGER) as answer:
            report = (await answer.json())["links"]["report"]
        for _ in range(200):
            await api.submit(LARGE)
        assert await is_healthy(api)
        before = process.memory_info().rss
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(400):
                await stack.enter_async_context(unread(server.url, get(report)))
            for _ in range(60):
                await stack.enter_async_context(unread(server.url, get("/api/requests?limit=200")))
            assert await is_healthy(api)
            assert process.memory_info().rss - before < 150_000_000
            assert process.num_fds() < FILES
            await until(lambda: connects(server.url), timeout=10)
        assert "leases could not be renewed" not in server.log
