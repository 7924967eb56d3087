"""Runs that an earlier version stored, with two blocks and intervals by another method, stay readable without those."""

import base64
import csv
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.report.render_process import Export, render
from reportsim.benchmark.results.run_comparison import compare_runs
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.results.stored_run import OLDER_METHOD, upgrade_plan, upgrade_result
from reportsim.benchmark.schedule import make_schedule
from reportsim.core.json import dumps
from reportsim.store import benchmarks as store
from tests.benchmark.runs import example
from tests.conftest import Service

STORED = json.loads((Path(__file__).parent / "data" / "run_with_two_blocks.json").read_text(encoding="utf-8"))


def intervals(value: Any) -> Iterator[Any]:
    """Every end of an interval that a result has, but for the bands of the prediction."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in {"low", "high"}:
                yield item
            elif name not in {"theory", "checks"}:
                yield from intervals(item)


@pytest.fixture
def run() -> dict[str, Any]:
    return {
        "id": "01a20c3d-8abb-79ad-be1e-3eae1fd1c9f4",
        "plan": upgrade_plan(STORED["plan"]),
        "prediction": STORED["prediction"],
        "result": upgrade_result(STORED["result"]),
        "completed_at": None,
    }


def test_their_intervals_are_taken_out_and_their_values_kept(run: dict[str, Any]) -> None:
    assert any(end is not None for end in intervals(STORED["result"]))
    assert all(end is None for end in intervals(run["result"]))
    assert run["result"]["intervals"] == OLDER_METHOD
    for level in ("p50", "max"):
        found, before = (each["sync"]["time_to_result_ms"][level] for each in (run["result"], STORED["result"]))
        assert found["value"] == before["value"]
    assert run["plan"]["blocks"] == 2


def test_they_are_drawn_exported_and_compared(run: dict[str, Any]) -> None:
    samples = [Samples.unpack(base64.b64decode(packed)) for packed in STORED["samples"]]
    page = "".join(render(Export.HTML, run, samples))
    assert OLDER_METHOD in page
    assert "Sync against async" in "".join(render(Export.REPLAY, run, samples))
    assert f"Total count    = {len(samples[1]):12d}" in "".join(render(Export.HGRM, run, samples[1:]))
    rows = "".join(render(Export.CSV, run, samples)).splitlines()
    assert len(rows) == 2 + sum(map(len, samples))
    new, result = example()
    compared = compare_runs(run, {"id": "x", "plan": new.plan.as_json(), "result": result})
    assert all(row["apart"] is None for row in compared["sync"])


def test_their_samples_have_the_service_times_that_were_planned(run: dict[str, Any]) -> None:
    samples = [Samples.unpack(base64.b64decode(packed)) for packed in STORED["samples"]]
    today = make_schedule(Plan.from_json(run["plan"]))
    assert len(today) != len(samples[0])
    rows = list(csv.DictReader("".join(render(Export.CSV, run, samples)).splitlines()[1:]))
    for row in rows:
        if row["outcome"] in {"ok", "ok_late"}:
            spent = float(row["ended_s"]) - float(row["started_s"])
            assert float(row["planned_service_s"]) == pytest.approx(spent, abs=1e-6)
    assert all(row["planned_service_s"] for row in rows)


async def test_the_service_shows_them(service: Service) -> None:
    engine = service.engine
    id, now = engine.new_id(), engine.clock.now()
    plan, prediction = STORED["plan"], json.dumps(STORED["prediction"])
    packed = tuple(base64.b64decode(each) for each in STORED["samples"])
    await store.insert(engine.pool, id, plan, owner=engine.owner, lease=timedelta(seconds=60), at=now)
    assert await store.start(engine.pool, id, prediction, now)
    assert await store.complete(engine.pool, id, dumps(STORED["result"]).decode(), (packed[0], packed[1]), now)
    for path, kind in ((f"/api/benchmark/{id}", "json"), (f"/benchmarks/{id}", "html"), ("/benchmarks", "html")):
        async with service.client.get(path, timeout=aiohttp.ClientTimeout(60)) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            assert kind in answer.content_type
    async with service.client.get(f"/api/benchmark/{id}/samples.csv") as answer:
        assert answer.status == 200
    for side in ("sync", "async"):
        async with service.client.get(f"/api/benchmark/{id}/percentiles.hgrm?side={side}") as answer:
            assert (answer.status, answer.content_type) == (200, "text/plain")
            assert answer.content_disposition is not None
            assert answer.content_disposition.filename == f"{id}-{side}.hgrm"
            assert await answer.text() == "".join(
                render(Export.HGRM, {"plan": plan}, [Samples.unpack(packed[side == "async"])])
            )
    for query, status in (("side=a", 409), ("side=poll", 422), ("", 200)):
        async with service.client.get(f"/api/benchmark/{id}/percentiles.hgrm?{query}") as answer:
            assert answer.status == status
