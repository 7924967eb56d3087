"""The plug: pulled in the middle of a race, which loses nothing; offered only where nobody else is harmed."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
from yarl import URL

from reportsim.benchmark.plug import FROZEN_S
from reportsim.cli.serve.service import is_for_demonstration
from reportsim.engine.freeze import Freeze
from reportsim.settings import Settings
from reportsim.store.embedded_postgres.server import EmbeddedPostgres
from reportsim.store.pool import Pool, connect, name_sessions, terminate_sessions
from tests.api.calls import UNKNOWN
from tests.benchmark.test_runner import ended, running, started
from tests.conftest import THROUGH_POOLER, Service, serving

pytestmark = pytest.mark.skipif(THROUGH_POOLER, reason="the embedded database has no pooler before it")

PULLS = int(os.environ.get("PLUG_PULLS", "4"))
REQUESTS = 8
RACE = {
    "mode": "race",
    "requests": str(REQUESTS),
    "workers": "2",
    "distribution": "fixed",
    "mean_ms": "300",
    "client_timeout_s": "2",
    "callback_failures": "1",
}
ROWS = """
SELECT status, callback_status FROM requests
WHERE run_id = $1 AND mode = 'async' AND input_payload -> 'simulate' IS NOT NULL
"""


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    async with serving(settings, demonstration=True) as running:
        yield running


async def start_race(service: Service, *, progress: bool = True, **controls: str) -> str:
    """The id of a race that runs; with `progress`, its first requests have ended."""
    async with service.client.post("/", data={**RACE, **controls}, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        id = URL(answer.headers["Location"]).query["race"]
    await running(service, id, progress=progress)
    return id


async def pull(service: Service, id: str, **headers: str) -> int:
    async with service.client.post(f"/benchmarks/{id}/plug", allow_redirects=False, headers=headers) as answer:
        if answer.status == 303:
            assert answer.headers["Location"] == f"/?race={id}"
        return answer.status


async def show(service: Service, path: str) -> str:
    async with service.client.get(path) as answer:
        assert answer.status == 200
        return await answer.text()


async def sessions(pool: Pool) -> set[int]:
    """The processes of all sessions of the service."""
    rows = await pool.fetch("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'reportsim-%'")
    return {row["pid"] for row in rows}


async def test_a_race_outlives_its_plug_and_loses_nothing(service: Service, pool: Pool) -> None:
    id = await start_race(service)
    before = await sessions(pool)
    assert before
    # Two at once: one is pulled.
    assert sorted(await asyncio.gather(pull(service, id), pull(service, id))) == [303, 409]
    assert not before & await sessions(pool)
    page = await show(service, f"/?race={id}")
    assert "The plug is pulled: workers stand still for 2 s" in page
    assert 'class="plug"' in page
    run = await ended(service, id)
    assert run["status"] == "COMPLETED", run["error"]
    rows = await pool.fetch(ROWS, id)
    assert [(row["status"], row["callback_status"]) for row in rows] == [("COMPLETED", "SUCCESS")] * REQUESTS
    result: dict[str, Any] = run["result"]
    assert result["async"]["outcomes"]["ok"] + result["async"]["outcomes"]["ok_late"] == REQUESTS
    # Without the freeze all would have had their result within 1.2 s.
    assert result["sync"]["outcomes"]["client_timeout"] > 0
    assert 0 < result["plug"]["at_s"] < 2
    assert result["plug"]["frozen_s"] == FROZEN_S
    assert not result["trusted"]
    assert [check["id"] for check in result["checks"] if check["value"] == 1 and check["verdict"] == "fail"] == ["H15"]
    page = await show(service, f"/?race={id}")
    assert "This is a demonstration, not a measurement." in page
    assert "H15: The plug was pulled" in page
    assert 'class="plug"' in page
    for export in ("report", "replay"):
        assert "plug pulled</text>" in await show(service, run["links"][export])
    # It is over: there is no plug to pull any more.
    assert await pull(service, id) == 409


@pytest.mark.slow
async def test_it_may_be_pulled_at_any_moment(service: Service, pool: Pool) -> None:
    source, pulled = random.Random(3), 0
    for number in range(PULLS):
        id = await start_race(service, mean_ms="50", requests="16", seed=str(number), progress=False)
        # From before the burst to after the last callback.
        await asyncio.sleep(source.uniform(0, 0.6))
        has_effect = await pull(service, id) == 303
        pulled += has_effect
        run = await ended(service, id)
        assert run["status"] == "COMPLETED", run["error"]
        assert (run["result"]["plug"] is not None) == has_effect
        rows = await pool.fetch(ROWS, id)
        assert {(row["status"], row["callback_status"]) for row in rows} <= {("COMPLETED", "SUCCESS")}
        outcomes = run["result"]["async"]["outcomes"]
        assert outcomes["ok"] + outcomes["ok_late"] == len(rows) == 16 - outcomes["shed"], outcomes
    assert pulled > 0


async def test_pages_of_other_sites_cannot_pull_it(service: Service) -> None:
    assert await pull(service, UNKNOWN, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert await pull(service, UNKNOWN) == 404
    assert await pull(service, "x") == 404


async def test_only_a_race_has_one(service: Service) -> None:
    id = await started(service, {"rate": 10, "duration_s": 8, "workers": 2, "service_time": None})
    await running(service, id)
    assert await pull(service, id) == 409
    await service.client.post(f"/api/benchmark/{id}/cancel")
    assert await pull(service, id) == 409


async def test_other_services_have_none(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as service:
        id = await start_race(service)
        page = await show(service, f"/?race={id}")
        assert "Pull the plug" not in page
        assert "/plug" not in page
        assert await pull(service, id) == 404
        run = await ended(service, id)
        assert run["result"]["plug"] is None
        assert run["result"]["sync"]["outcomes"]["client_timeout"] == 0
        assert "H15" not in [check["id"] for check in run["result"]["checks"] if check["verdict"] == "fail"]


async def test_pulling_is_limited_as_races_are(settings: Settings) -> None:
    async with serving(replace(settings, async_rate=1), demonstration=True) as service:
        assert [await pull(service, UNKNOWN) for _ in range(3)].count(429) >= 1


@pytest.mark.parametrize(
    ("embedded", "host", "more", "is_offered"),
    [
        (True, "127.0.0.1", {}, True),
        (True, "::1", {}, True),
        (False, "127.0.0.1", {}, False),
        (True, "0.0.0.0", {}, False),
        (True, "127.0.0.1", {"public_url": "https://reports.example.org"}, False),
        (True, "127.0.0.1", {"trusted_proxies": ("127.0.0.0/8",)}, False),
        (True, "127.0.0.1", {"allowed_hosts": ("reports.example.org",)}, False),
    ],
)
def test_it_is_for_a_service_of_ones_own(embedded: bool, host: str, more: dict[str, Any], is_offered: bool) -> None:
    settings = Settings(**more)
    database = cast(EmbeddedPostgres, object()) if embedded else None
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        listening.bind((host, 0))
        assert is_for_demonstration(settings, listening, database) is is_offered


async def test_only_the_sessions_of_a_name_end(dsn: str) -> None:
    mine, other, unnamed = [await connect(name) for name in (name_sessions(dsn, "a"), name_sessions(dsn, "b"), dsn)]
    assert await terminate_sessions(name_sessions(dsn, "a"), "a") == 1
    assert [await connection.fetchval("SELECT 1") for connection in (other, unnamed)] == [1, 1]
    with pytest.raises(Exception, match="connection"):
        await mine.fetchval("SELECT 1")
    for connection in (mine, other, unnamed):
        connection.terminate()


async def test_a_freeze_ends_when_the_last_one_says() -> None:
    freeze = Freeze()
    await freeze.over()
    freeze.begin(0.0)
    freeze.begin(3600.0)
    waiting = asyncio.ensure_future(freeze.over())
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    freeze.begin(0.0)
    await waiting
