"""What a benchmark run needs goes away: the run ends with a sentence, leaves nothing, and the next one works."""

import asyncio
import ctypes
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from reportsim.settings import Settings
from reportsim.store.pool import Pool, create_pool
from tests.benchmark.test_run_ends import detail_of, generators, leaves_nothing
from tests.benchmark.test_runner import ended, running, started
from tests.conftest import serving
from tests.faults.database import Database, own_database

pytestmark = pytest.mark.slow

PIDFD_GETFD = 438
PLAN = {
    "rate": 20,
    "duration_s": 4,
    "workers": 4,
    "seed": 7,
    "service_time": {"distribution": "fixed", "mean_ms": 20},
    "client_timeout_s": 5,
}


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with own_database() as made:
        yield made


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with create_pool(database.dsn, size=4, statement_cache=100) as opened:
        yield opened


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Of a service on that database, with time for whatever is away to come back."""
    return Settings(
        database_url=database.dsn,
        data_dir=tmp_path,
        workers=4,
        sync_rate=0,
        async_rate=0,
        callback_waits=(0.05, 0.1),
        demo_lines=100,
    )


@pytest.mark.parametrize("away_s", [0, 3], ids=["restarted", "away for a while"])
async def test_a_run_outlives_its_database_or_says_why_not(
    database: Database, settings: Settings, pool: Pool, away_s: float
) -> None:
    async with serving(settings) as service:
        id = await started(service, PLAN)
        await running(service, id)
        if away_s:
            await database.strike()
            await asyncio.sleep(away_s)
            await database.start()
        else:
            await database.restart()
        run = await ended(service, id)
        if run["status"] == "COMPLETED":
            assert run["result"]["verdict"]
        else:
            assert detail_of(run).startswith("The database was away while it ran: ")
        await leaves_nothing(service, pool)


def listening_socket(process: psutil.Process) -> socket.socket:
    """A process's own listening socket, shared with this one."""
    [number] = [each.fd for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    handle = os.pidfd_open(process.pid)
    try:
        shared = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, handle, number, 0)
    finally:
        os.close(handle)
    if shared < 0:
        pytest.skip("only root shares the sockets of others")
    return socket.socket(fileno=shared)


async def test_a_generator_that_can_no_longer_be_called_back_fails_its_run(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as service:
        id = await started(service, PLAN)
        await running(service, id)
        [process] = generators()
        with listening_socket(process) as listening:
            listening.shutdown(socket.SHUT_RDWR)
        run = await ended(service, id)
        assert detail_of(run) == "The generator's process failed: [Errno 22] Invalid argument"
        await leaves_nothing(service, pool)


async def test_a_generator_that_may_open_nothing_more_fails_its_run(settings: Settings, pool: Pool) -> None:
    """Neither its requests nor the callbacks to it have a descriptor: the result would be of the limit."""
    async with serving(settings) as service:
        id = await started(service, PLAN)
        await running(service, id)
        [process] = generators()
        process.rlimit(psutil.RLIMIT_NOFILE, (3, 3))
        assert detail_of(await ended(service, id)).endswith("Too many open files")
        await leaves_nothing(service, pool)
