"""Backends and poolers are killed under a mixed load: what they were doing is done again, and no report fails of it."""

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reportsim.store.pool import connect
from tests.engine.receiver import Receiver
from tests.faults.load import Load
from tests.faults.process import ServerProcess
from tests.pooler import pooled
from tests.ports import free_port

KILLS = int(os.environ.get("FAULT_KILLS", "10"))
SEED = int(os.environ.get("FAULT_SEED", "42"))
CLIENTS = 16
LONGEST_PAUSE_S = 0.3
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
TERMINATE = f"SELECT pg_terminate_backend(pid) {OTHERS}"
TERMINATE_ONE = f"SELECT pg_terminate_backend(pid) FROM (SELECT pid {OTHERS} ORDER BY random() LIMIT 1) AS one"
CANCEL = f"SELECT pg_cancel_backend(pid) {OTHERS} AND state <> 'idle'"


class Pooler:
    """A PgBouncer that comes back at the same address after each kill."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._port = free_port()
        self._stack = contextlib.ExitStack()

    def start(self) -> str:
        return self._stack.enter_context(pooled(self._dsn, port=self._port))

    def kill(self) -> None:
        self._stack.close()


@contextlib.asynccontextmanager
async def pooler_before(dsn: str) -> AsyncIterator[tuple[Pooler, str]]:
    pooler = Pooler(dsn)
    address = await asyncio.to_thread(pooler.start)
    try:
        yield pooler, address
    finally:
        await asyncio.to_thread(pooler.kill)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["read committed", "serializable"])
async def test_no_report_fails_of_them(own_dsn: str, tmp_path: Path, receiver: Receiver, level: str) -> None:
    draw = random.Random(SEED)
    killer = await connect(own_dsn)
    name = await killer.fetchval("SELECT current_database()")
    await killer.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    kills: Counter[str] = Counter()
    async with pooler_before(own_dsn) as (pooler, address), ServerProcess(address, tmp_path) as server:
        load = Load([server.url], receiver, seed=SEED)
        async with load.running(CLIENTS):
            for _ in range(5 * KILLS):
                await asyncio.sleep(draw.uniform(0, LONGEST_PAUSE_S))
                kind = draw.choice(["all backends", "one backend", "one backend", "statements", "pooler"])
                kills[kind] += 1
                match kind:
                    case "all backends":
                        await killer.execute(TERMINATE)
                    case "one backend":
                        await killer.execute(TERMINATE_ONE)
                    case "statements":
                        await killer.execute(CANCEL)
                    case "pooler":
                        await asyncio.to_thread(pooler.kill)
                        await asyncio.to_thread(pooler.start)
        counts = await load.verify(own_dsn)
        assert "Traceback" not in server.log
        print(f"\n{dict(kills)} with seed {SEED}: {counts}")
    await killer.close()
