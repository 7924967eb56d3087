"""Runs that an earlier version stored, with two blocks and intervals by another method, stay readable without those."""

import base64
import copy
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
from reportsim.benchmark.results.verdict import split_verdict
from reportsim.benchmark.schedule import make_schedule
from reportsim.core.json import dumps
from reportsim.core.model import Mode
from reportsim.store import benchmarks as store
from tests.benchmark.runs import example, overload
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


VERDICT = (
    "Of 96 sync requests, 1 % timed out. No async request was lost; 1 % had a late result."
    " Connections held on average: 6.91 by sync, 0.013 by async."
    " Async − sync is 0 ms on average over 95 requests with a result on both sides, without an interval: older method."
)


def test_their_verdict_quotes_no_interval(run: dict[str, Any]) -> None:
    assert "0 to 0" in STORED["result"]["verdict"]
    assert run["result"]["verdict"] == VERDICT
    assert len(split_verdict(VERDICT)) == 4


def test_without_common_results_there_is_no_difference() -> None:
    result = copy.deepcopy(STORED["result"])
    result["comparison"] |= {"pairs": 0, "difference_ms": {"mean": {"value": None, "low": None, "high": None}}}
    upgraded = upgrade_result(result)
    assert upgraded is not None
    assert upgraded["verdict"].endswith("No request has a result on both sides, so sync and async cannot be compared.")


def test_the_ways_to_learn_a_result_have_no_intervals() -> None:
    way = {"offered": 9, "time_to_result_ms": {"p50": {"value": 2.0, "low": 1.0, "high": 3.0, "n": 9}}}
    upgraded = upgrade_result({**STORED["result"], "ways": {"polling": way}})
    assert upgraded is not None
    assert upgraded["ways"]["polling"]["time_to_result_ms"]["p50"] == {"value": 2.0, "low": None, "high": None, "n": 9}


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


def test_the_samples_of_their_races_have_one_block() -> None:
    samples = overload(blocks=1, together=True, duration_s=10.0).samples[Mode.SYNC]
    line, _, body = samples.pack().partition(b"\n")
    count = json.loads(line)["count"]
    older = json.dumps({"mode": "sync", "first_block": count, "count": count, "duplicates": 0})
    assert Samples.unpack(older.encode() + b"\n" + body).bounds == (0, count)
    halves = json.dumps({"mode": "sync", "first_block": 7, "count": count, "duplicates": 0})
    assert Samples.unpack(halves.encode() + b"\n" + body).bounds == (0, 7, count)


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
    one, listed = f"/api/benchmark/{id}", "/api/benchmark"
    pages = [(path, "html") for path in (f"/benchmarks/{id}", "/benchmarks", f"{one}/report.html")]
    for path, kind in ((one, "json"), (listed, "json"), *pages):
        async with service.client.get(path, timeout=aiohttp.ClientTimeout(60)) as answer:
            text = await answer.text()
            assert answer.status == 200, text
            assert kind in answer.content_type
            assert "0 to 0" not in text
            assert split_verdict(VERDICT)[-1] in text
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
