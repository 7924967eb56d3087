"""POST /api/benchmark/both through real sockets: from the load to the stored result."""

import asyncio
import csv
import io
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import jsonschema
import pytest

from reportsim.benchmark.load.completion import Way
from reportsim.core.model import Mode
from reportsim.settings import Settings
from reportsim.store import benchmarks, requests
from reportsim.store.pool import Pool
from tests.api.calls import UNKNOWN, read, until
from tests.conftest import Service, serving
from tests.store.rows import LEASE, field, inserted, new

SMALL: Final = {
    "rate": 100,
    "duration_s": 1,
    "workers": 4,
    "seed": 7,
    "service_time": {"distribution": "exponential", "mean_ms": 40},
    "client_timeout_s": 0.15,
    "slo_s": 0.15,
    "ways": True,
}
TINY_RUN: Final = {
    "rate": 20,
    "duration_s": 1,
    "workers": 2,
    "seed": 7,
    "service_time": {"distribution": "fixed", "mean_ms": 5},
}
CHECKS: Final = ["H1", "H2", "H3", "H4", "H5", "H6", "H8", "H9", "H10", "H11", "H12", "H14", "H15"]
ENDLESS: Final = {**SMALL, "rate": 10, "duration_s": 40}


async def started(service: Service, plan: dict[str, Any]) -> str:
    """The id of a run that was just stored."""
    async with service.client.post("/api/benchmark/both", json=plan) as answer:
        run = await answer.json()
        assert answer.status == 202, run
        assert answer.headers["Location"] == f"/api/benchmark/{run['id']}"
    assert (run["status"], run["prediction"], run["result"]) == ("PENDING", None, None)
    return str(run["id"])


async def ended(service: Service, id: str) -> Any:
    """A run when it has ended."""
    async with asyncio.timeout(60):
        while True:
            async with service.client.get(f"/api/benchmark/{id}", headers={"Prefer": "wait=20"}) as answer:
                run = await answer.json()
            if run["status"] not in {"PENDING", "RUNNING"}:
                return run


async def running(service: Service, id: str, *, progress: bool = True) -> Any:
    """A run when it sends its load, and has seen some of it end."""

    async with asyncio.timeout(30):
        while True:
            run = await read(service, f"/api/benchmark/{id}")
            if run["status"] == "RUNNING" and (run["progress"] or not progress):
                return run
            await asyncio.sleep(0.02)


async def validates(service: Service, name: str, value: Any) -> None:
    """Holds a value against a schema of /openapi.json."""
    document = await read(service, "/openapi.json")
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.validate(value, schema, jsonschema.Draft202012Validator)


async def test_a_small_run_goes_from_its_plan_to_a_stored_result(service: Service) -> None:
    id = await started(service, TINY_RUN)
    run = await ended(service, id)
    assert run["status"] == "COMPLETED", run["error"]
    await validates(service, "Benchmark", run)
    result, samples = run["result"], await read_samples(service, run)
    for side in Mode:
        rows = [row for row in samples if row["mode"] == side]
        assert result[side]["offered"] == result[side]["sent"] == len(rows) > 0
        assert result[side]["outcomes"]["ok"] == len(rows)
        slowest = max(float(row["time_to_result_ms"]) for row in rows)
        assert result[side]["time_to_result_ms"]["max"]["value"] == pytest.approx(slowest, abs=0.001)
    assert [check["id"] for check in result["checks"]] == CHECKS
    assert run["links"]["report"] == f"/api/benchmark/{id}/report.html"
    async with service.client.get(run["links"]["report"]) as answer:
        assert answer.status == 200
        assert "<svg" in await answer.text()


async def test_callbacks_fail_as_often_as_the_plan_says(service: Service, pool: Pool) -> None:
    run = await ended(service, await started(service, {**TINY_RUN, "callback_failures": 1}))
    assert run["status"] == "COMPLETED", run["error"]
    assert run["plan"]["callback_failures"] == 1
    offered = run["result"]["async"]["offered"]
    assert run["result"]["async"]["outcomes"]["ok"] == offered
    attempts = "SELECT status_code, count(*) FROM callback_logs GROUP BY 1"
    counts = {row["status_code"]: row["count"] for row in await pool.fetch(attempts)}
    # Those that warm up the service are delivered at once.
    assert counts[503] == offered <= counts[200]
    async with service.client.post("/api/benchmark/both", json={**TINY_RUN, "callback_failures": 21}) as answer:
        assert answer.status == 422


async def read_samples(service: Service, run: Any) -> list[dict[str, str]]:
    """The rows of a run's export, below the line that holds its plan."""
    async with service.client.get(run["links"]["samples"]) as answer:
        assert answer.status == 200
        first, _, rows = (await answer.text()).partition("\n")
    assert first.startswith("# plan: ")
    return list(csv.DictReader(io.StringIO(rows)))


@pytest.mark.slow
async def test_a_run_measures_both_patterns_and_is_stored_with_everything(settings: Settings, pool: Pool) -> None:
    # Its requests have no rate limit, and no other request avoids one; starting the run costs one of the async quota.
    async with serving(replace(settings, sync_rate=1, async_rate=2)) as service:
        id = await started(service, SMALL)
        run = await ended(service, id)
        assert run["status"] == "COMPLETED", run["error"]
        await validates(service, "Benchmark", run)
        result, plan = run["result"], run["plan"]
        assert plan["ledger"] == "tiny"
        assert run["prediction"]["sync"]["timeout_share"]["high"] > 0

        # Every request that was offered has one outcome, and the service took on what clients saw accepted.
        offered = result[Mode.SYNC]["offered"]
        assert 60 < offered < 140
        for side in Mode:
            measured = result[side]
            assert (measured["offered"], measured["sent"]) == (offered, offered)
            assert sum(measured["outcomes"].values()) == offered
            assert measured["segments_ms"]["service"] > 0
            assert measured["open_connections"]["max"] >= 1
        assert result["async"]["outcomes"]["ok"] + result["async"]["outcomes"]["ok_late"] == offered
        ways = result["ways"]
        for way in Way:
            assert (ways[way]["offered"], ways[way]["results"]) == (offered, offered), way
        assert ways["webhook"]["requests"] == 2 * offered
        assert ways["sse"]["requests"] == 3 * offered
        assert ways["polling"]["time_to_result_ms"]["p50"]["value"] > 1_000
        assert ways["long_poll"]["requests"] >= 2 * offered
        checks = {check["id"]: check for check in result["checks"]}
        assert list(checks) == CHECKS
        # H5 alone does not depend on how busy the machine is; late loops explain what H3 and H4 warn of.
        assert checks["H5"]["verdict"] == "ok", checks["H5"]
        for id_, allowed in (("H3", {"ok", "warn"}), ("H4", {"ok", "warn"})):
            assert checks[id_]["verdict"] in allowed, checks[id_]

        # The rows are there, but in no list that does not ask for them; none is left open.
        page = await read(service, f"/api/requests?run={id}&limit=1")
        assert page["items"][0]["status"] in {"COMPLETED", "FAILED"}
        assert (await read(service, "/api/requests"))["items"] == []
        assert not await benchmarks.has_open_requests(pool, uuid.UUID(id))

        listed = await read(service, "/api/benchmark")
        await validates(service, "Benchmarks", listed)
        assert [(item["id"], item["verdict"]) for item in listed["items"]] == [(id, result["verdict"])]

        async with service.client.get(run["links"]["report"]) as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/html")
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert text.count("<svg") >= 6
        rows = await read_samples(service, run)
        assert len(rows) == 2 * offered
        times = [float(row["time_to_result_ms"]) for row in rows if row["mode"] == "async"]
        assert max(times) == pytest.approx(result["async"]["time_to_result_ms"]["max"]["value"], abs=0.001)

        # The token was the run's, and is worth nothing now.
        async with service.client.post("/api/sync", json={"ledger": "tiny"}) as answer:
            assert answer.status == 200
        async with service.client.post("/api/sync", json={}, headers={"X-Benchmark-Run": "guess"}) as answer:
            assert answer.status == 429
        body = {"ledger": "tiny", "callback_url": page["items"][0]["callback_url"]}
        async with service.client.post("/api/async", json=body) as answer:
            assert answer.status == 422


async def test_one_run_at_a_time_which_can_be_cancelled(service: Service, pool: Pool) -> None:
    id = await started(service, ENDLESS)
    async with service.client.post("/api/benchmark/both", json=SMALL) as answer:
        assert (answer.status, (await answer.json())["type"]) == (409, "/problems/conflict")
    seen = await running(service, id)
    assert 0 < seen["progress"] < 1
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        cancelled = await answer.json()
    assert (answer.status, cancelled["status"], cancelled["result"]) == (200, "CANCELLED", None)
    assert not await benchmarks.has_open_requests(pool, uuid.UUID(id))
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        assert answer.status == 409
    for export in ("report.html", "samples.csv", "percentiles.hgrm?side=sync"):
        async with service.client.get(f"/api/benchmark/{id}/{export}") as answer:
            assert answer.status == 409
    await started(service, ENDLESS)


async def test_a_service_that_stops_takes_its_run_along_and_says_so(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as service:
        id = await started(service, ENDLESS)
        await running(service, id)
    run = await benchmarks.get(pool, uuid.UUID(id))
    assert run is not None
    assert run.status == "FAILED"
    assert run.error is not None
    assert "stopped" in run.error["detail"]
    assert not await benchmarks.has_open_requests(pool, run.id)


async def test_a_run_whose_replica_died_fails_with_its_requests_which_nobody_else_takes(
    settings: Settings, pool: Pool
) -> None:
    dead, id = uuid.uuid4(), uuid.uuid4()
    await benchmarks.insert(pool, id, {}, owner=dead, lease=timedelta(seconds=-1), at=datetime.now(UTC))
    [orphan] = await inserted(pool, new(owner=dead, run_id=id))
    await pool.execute("UPDATE requests SET lease_until = now() - interval '1 hour'")
    assert await requests.take_over(pool, uuid.uuid4(), 10, LEASE, datetime.now(UTC)) == []
    async with serving(settings) as service:
        run = await ended(service, str(id))
        assert (run["status"], run["error"]["type"]) == ("FAILED", "/problems/benchmark-failed")

        async def has_failed() -> bool:
            return bool(await field(pool, orphan, "status") == "FAILED")

        await until(has_failed)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"rate": 0}, "#/rate"),
        ({"rate": 5000, "duration_s": 600}, "#"),
        ({"rate": 100, "duration_s": 600, "workers": 1}, "#"),
        ({"workers": 33}, "#/workers"),
        ({"cancel": "maybe"}, "#/cancel"),
        ({"service_time": {"distribution": "fixed"}}, "#/service_time/mean_ms"),
        ({"ledger": "nowhere"}, "#/ledger"),
        ({"simulate": {}}, "#/simulate"),
        ({"as_of": "2025-01-01"}, "#/as_of"),
    ],
)
async def test_what_is_no_plan_is_refused(client: aiohttp.ClientSession, body: Any, where: str) -> None:
    async with client.post("/api/benchmark/both", json=body) as answer:
        problem = json.loads(await answer.text())
    assert answer.status == 422
    assert [error["pointer"] for error in problem["errors"]] == [where]


async def test_unknown_runs_are_not_found(client: aiohttp.ClientSession) -> None:
    for path in (
        UNKNOWN,
        "nonsense",
        f"{UNKNOWN}/report.html",
        f"{UNKNOWN}/samples.csv",
        f"{UNKNOWN}/percentiles.hgrm?side=sync",
    ):
        async with client.get(f"/api/benchmark/{path}") as answer:
            assert answer.status == 404
    async with client.post(f"/api/benchmark/{UNKNOWN}/cancel") as answer:
        assert answer.status == 404
