"""kill -9 at random moments of a mixed load: everything accepted ends, is announced, and is done once."""

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from tests.engine.receiver import Receiver
from tests.faults.load import Load
from tests.faults.process import ServerProcess

KILLS = int(os.environ.get("FAULT_KILLS", "10"))
SEED = int(os.environ.get("FAULT_SEED", "42"))
CLIENTS = 24
LONGEST_LIFE_S = 1.5


@pytest.mark.slow
async def test_nothing_accepted_is_lost_and_nothing_done_twice(
    own_dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    draw = random.Random(SEED)
    async with ServerProcess(own_dsn, tmp_path, REPORTSIM_CALLBACK_WAITS="0.2,0.4") as server:
        load = Load([server.url], receiver, seed=SEED)
        async with load.running(CLIENTS):
            for _ in range(KILLS):
                await asyncio.sleep(draw.uniform(0, LONGEST_LIFE_S))
                await server.restart()
            await asyncio.sleep(draw.uniform(0, LONGEST_LIFE_S))
        began = time.monotonic()
        counts = await load.verify(own_dsn, lives=KILLS + 1, takeovers=1)
        print(f"\n{KILLS} kills with seed {SEED}: {counts}; quiet after {time.monotonic() - began:.1f} s")
