"""Races and short benchmarks: whatever was accepted is heard of, exactly once, before a run ends."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from yarl import URL

from reportsim.store.pool import Pool
from tests.faults.process import ServerProcess

RACES: Final = int(os.environ.get("FAULT_RACES", "50"))
BENCHMARKS: Final = int(os.environ.get("FAULT_BENCHMARKS", "10"))
END_S: Final = 60.0
# What a callback may come to, beside being delivered, and whether every one of a run has been written down.
NOT_DELIVERED: Final = """
SELECT id, status, callback_status, callback_attempts, error FROM requests
WHERE run_id = $1 AND (callback_status <> 'SUCCESS' OR status NOT IN ('COMPLETED', 'FAILED'))
"""

pytestmark = pytest.mark.slow


@pytest.fixture
async def client(dsn: str, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a service with a process of its own."""
    settings = {"REPORTSIM_CALLBACK_WAITS": "0.05", "REPORTSIM_CALLBACK_ALLOW": "", "REPORTSIM_LEASE_S": "30"}
    async with ServerProcess(dsn, tmp_path, **settings) as server, aiohttp.ClientSession(server.url) as session:
        yield session


async def ended(client: aiohttp.ClientSession, id: str) -> Any:
    """A run when it has ended."""
    async with asyncio.timeout(END_S):
        while True:
            async with client.get(f"/api/benchmark/{id}", headers={"Prefer": "wait=20"}) as answer:
                run = await answer.json()
            if run["status"] not in {"PENDING", "RUNNING"}:
                return run


async def lost(client: aiohttp.ClientSession, pool: Pool, id: str) -> str | None:
    """What a run came to, if it did not hear exactly once of everything that was accepted."""
    run = await ended(client, id)
    if run["status"] != "COMPLETED":
        return f"{id}: {run['status']} {run['error']}"
    later = run["result"]["async"]
    outcomes = {name: count for name, count in later["outcomes"].items() if count}
    rows = [dict(row) for row in await pool.fetch(NOT_DELIVERED, id)]
    heard = outcomes.get("ok", 0) + outcomes.get("ok_late", 0)
    if heard == later["offered"] and not later["duplicates"] and not rows:
        return None
    return f"{id}: {outcomes}, {later['duplicates']} duplicates, {rows}"


async def test_no_race_loses_a_callback(client: aiohttp.ClientSession, pool: Pool) -> None:
    found: list[str] = []
    source = random.Random(1)
    for number in range(RACES):
        form = {
            "mode": "race",
            "requests": str(source.randint(2, 24)),
            "workers": str(source.randint(1, 8)),
            "distribution": source.choice(["fixed", "fixed", "exponential"]),
            "mean_ms": "50",
            "callback_failures": str(int(source.random() < 0.2)),
            "seed": str(number),
        }
        async with client.post("/", data=form, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
        if loss := await lost(client, pool, URL(answer.headers["Location"]).query["race"]):
            found.append(f"race {number}, {loss}")
    print(f"{RACES} races, {len(found)} with a loss")
    assert found == []


async def test_no_short_benchmark_loses_a_callback(client: aiohttp.ClientSession, pool: Pool) -> None:
    found: list[str] = []
    source = random.Random(2)
    for number in range(BENCHMARKS):
        plan = {
            "rate": source.choice([5, 50, 200]),
            "duration_s": 1,
            "workers": source.randint(2, 8),
            "seed": number,
            "service_time": {"distribution": source.choice(["fixed", "exponential"]), "mean_ms": 10},
            "client_timeout_s": source.choice([0.05, 5]),
            "cancel": source.choice(["none", "queued", "running"]),
        }
        async with client.post("/api/benchmark/both", json=plan) as answer:
            run = await answer.json()
            assert answer.status == 202, run
        if loss := await lost(client, pool, run["id"]):
            found.append(f"benchmark {number}, {loss}")
    print(f"{BENCHMARKS} benchmarks, {len(found)} with a loss")
    assert found == []
