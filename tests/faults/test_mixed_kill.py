"""kill -9 at random moments of a mixed load: everything accepted ends, is announced, and is done once."""

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from reportsim.store.pool import connect
from tests.engine.receiver import Receiver
from tests.faults.load import Load
from tests.faults.process import ServerProcess
from tests.pooler import pooled

KILLS = int(os.environ.get("FAULT_KILLS", "10"))
SEED = int(os.environ.get("FAULT_SEED", "42"))
CLIENTS = 24
LONGEST_LIFE_S = 1.5


@pytest.mark.slow
async def test_nothing_accepted_is_lost_and_nothing_done_twice(
    own_dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    await kill_at_random(own_dsn, own_dsn, tmp_path, receiver)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
@pytest.mark.parametrize("parameters", ["", "?pgbouncer=true"])
async def test_nor_behind_a_pooler_on_a_database_with_other_defaults(
    own_dsn: str, tmp_path: Path, receiver: Receiver, parameters: str, level: str
) -> None:
    connection = await connect(own_dsn)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    await connection.close()
    with pooled(own_dsn) as address:
        await kill_at_random(f"{address}{parameters}", own_dsn, tmp_path, receiver)


async def kill_at_random(dsn: str, direct_dsn: str, folder: Path, receiver: Receiver) -> None:
    draw = random.Random(SEED)
    async with ServerProcess(dsn, folder, REPORTSIM_CALLBACK_WAITS="0.2,0.4") as server:
        load = Load([server.url], receiver, seed=SEED)
        async with load.running(CLIENTS):
            for _ in range(KILLS):
                await asyncio.sleep(draw.uniform(0, LONGEST_LIFE_S))
                await server.restart()
            await asyncio.sleep(draw.uniform(0, LONGEST_LIFE_S))
        began = time.monotonic()
        counts = await load.verify(direct_dsn, lives=KILLS + 1, takeovers=1)
        print(f"\n{KILLS} kills with seed {SEED}: {counts}; quiet after {time.monotonic() - began:.1f} s")
