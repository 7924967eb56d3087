"""What pages of other sites can have computed: nothing; and what helpers may do beside a run: nothing either."""

import asyncio
import os
from typing import Any

import pytest

from reportsim.benchmark import helper_process
from reportsim.benchmark.helper_process import lower_priority
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.report import render_process
from reportsim.benchmark.theory import prediction_process
from tests.api.calls import UNKNOWN
from tests.conftest import Service

COSTLY = (
    "/benchmarks/prediction",
    "/benchmarks?predict=1",
    f"/benchmarks/{UNKNOWN}",
    f"/benchmarks/compare?id={UNKNOWN}&id={UNKNOWN}",
    f"/api/benchmark/{UNKNOWN}/report.html",
    f"/api/benchmark/{UNKNOWN}/replay.html",
    f"/api/benchmark/{UNKNOWN}/samples.csv",
    f"/api/benchmark/{UNKNOWN}/percentiles.hgrm?side=sync",
    f"/api/benchmark/{UNKNOWN}/comparison?with={UNKNOWN}",
    "/?requests=24&seed=1",
    f"/?race={UNKNOWN}",
)
CHEAP = ("/", "/benchmarks", "/docs", "/healthz", "/?q=x", "/api/requests")
FOLLOWED = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-User": "?1",
}
ELSEWHERE: tuple[dict[str, str], ...] = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {**FOLLOWED, "Sec-Fetch-Dest": "iframe"},
    {name: value for name, value in FOLLOWED.items() if name != "Sec-Fetch-User"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Referer": "http://evil.example/page"},
    {"Referer": "nonsense"},
)
WITHIN: tuple[dict[str, str], ...] = ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, FOLLOWED)
QUICK = {"rate": 2, "duration_s": 2, "service_time": {"distribution": "fixed", "mean_ms": 1}, "workers": 1}


@pytest.fixture
def quick_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed for what is let through."""

    async def predict(_: object) -> dict[str, Any]:
        raise TimeoutError

    monkeypatch.setattr("reportsim.pages.benchmarks.predict_in_process", predict)


async def status_of(service: Service, path: str, headers: dict[str, str], method: str = "GET") -> int:
    async with service.client.request(method, path, headers=headers) as answer:
        await answer.read()
        return answer.status


@pytest.mark.usefixtures("quick_helpers")
async def test_a_page_of_another_site_has_nothing_computed(service: Service, subtests: pytest.Subtests) -> None:
    for path in COSTLY:
        for headers in ELSEWHERE:
            with subtests.test(path=path, headers=headers):
                assert await status_of(service, path, headers) == 403
                assert await status_of(service, path, headers, "HEAD") == 403
        for headers in (*WITHIN, {"Referer": f"{service.url}/benchmarks"}):
            with subtests.test(path=path, headers=headers):
                assert await status_of(service, path, headers) != 403


async def test_what_is_cheap_can_be_linked_from_anywhere(service: Service) -> None:
    for path in CHEAP:
        assert await status_of(service, path, {"Referer": "http://wiki.example/", **FOLLOWED}) == 200
        assert await status_of(service, path, {"Referer": "http://wiki.example/"}) == 200


@pytest.mark.usefixtures("quick_helpers")
async def test_no_helper_is_started_beside_a_run(service: Service) -> None:
    async with service.client.post("/api/benchmark/both", json=QUICK, headers={"Prefer": "wait=20"}) as answer:
        assert answer.status == 200
        finished = (await answer.json())["id"]
    async with service.client.post("/api/benchmark/both", json={**QUICK, "duration_s": 30}) as answer:
        assert answer.status == 202
        running = (await answer.json())["id"]
    for path in (
        "/benchmarks/prediction",
        f"/benchmarks/{finished}",
        f"/api/benchmark/{finished}/report.html",
        f"/api/benchmark/{finished}/replay.html",
        f"/api/benchmark/{finished}/samples.csv",
        f"/api/benchmark/{finished}/percentiles.hgrm?side=async",
    ):
        async with service.client.get(path) as answer:
            assert answer.status == 503, path
            assert "A race or benchmark is running" in await answer.text()
            if path != "/benchmarks/prediction":
                assert int(answer.headers["Retry-After"]) >= 1
    assert await status_of(service, f"/benchmarks/{running}", {}) == 200
    async with service.client.post(f"/api/benchmark/{running}/cancel") as answer:
        assert answer.status == 200
    assert await status_of(service, f"/benchmarks/{finished}", {}) == 200


async def test_a_helper_lets_the_service_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    start = asyncio.create_subprocess_exec

    async def watched(*given: Any, **named: Any) -> Any:
        process = await start(*given, **named)
        seen.append(process.pid)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    priorities = []

    def lower_and_look(process: Any) -> None:
        lower_priority(process)
        priorities.append(os.getpriority(os.PRIO_PROCESS, process.pid))

    for module in (helper_process, render_process):
        monkeypatch.setattr(module, "lower_priority", lower_and_look)
    await prediction_process.predict_in_process(Plan(rate=1, duration_s=1))
    async with render_process.render_export(render_process.Export.CSV, {}, (b"", b"")):
        pass
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert len(seen) == 2
    assert priorities == [min(own + 10, 19)] * 2
