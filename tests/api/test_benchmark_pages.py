"""The benchmark's pages as a browser without JavaScript gets them, and the race's way through the API's rows."""

import re
from uuid import UUID

import pytest
from yarl import URL

from reportsim.core.model import Mode
from reportsim.pages.benchmark_form import OWN_TIME, VALUES, plan_body, plan_values
from reportsim.store import benchmarks
from reportsim.web.keys import RUNNER
from tests.benchmark.runs import finished_run
from tests.conftest import Service
from tests.engine.jobs import until

UNKNOWN = "01890000-0000-7000-8000-000000000000"
RACE = {
    "mode": "race",
    "requests": "3",
    "workers": "1",
    "distribution": "fixed",
    "mean_ms": "400",
    "client_timeout_s": "1",
    "callback_failures": "1",
    "seed": "1",
}


async def get_page(service: Service, path: str | URL, status: int = 200) -> str:
    async with service.client.get(path) as answer:
        text = await answer.text()
        assert answer.status == status, text
        assert answer.content_type == "text/html"
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert not re.search(r"\sstyle=|\son\w+=", text)
        return text


async def test_the_form_says_what_to_expect(service: Service) -> None:
    text = await get_page(service, "/benchmarks")
    assert "No run yet." in text
    assert "Theory says before the run" in text
    text = await get_page(service, "/benchmarks?predict=yes&rate=200&duration_s=5")
    assert "more than the workers can do" in text
    assert 'value="200"' in text
    part = await get_page(service, "/benchmarks/prediction?rate=5&duration_s=5&client_timeout_s=")
    assert "No sync client will time out, since none gives up" in part
    assert "<html" not in part
    own = URL("/benchmarks/prediction").with_query(rate="500", duration_s="2", distribution=OWN_TIME)
    part = await get_page(service, own)
    assert "No service time is planned" in part
    assert "ρ" not in part


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"rate": "many"}, "Not a number."),
        ({"rate": "0"}, "Must be greater than or equal to 0.1"),
        ({"rate": "5000", "duration_s": "600"}, "must not exceed 200,000"),
        ({"distribution": "lognormal", "mean_ms": "100", "sigma": "x"}, "Not a number."),
        ({"distribution": "odd", "mean_ms": "5"}, "Must be one of"),
        ({"ledger": "none"}, "There is no such ledger."),
        ({"arrivals": "never"}, "Must be one of"),
    ],
)
async def test_a_refused_plan_starts_nothing(service: Service, form: dict[str, str], said: str) -> None:
    async with service.client.post("/benchmarks", data=form) as answer:
        text = await answer.text()
        assert answer.status == 422
        assert said in text
        assert "nothing was started" in text
    assert said in await get_page(service, URL("/benchmarks/prediction").with_query(form), 422)
    assert await benchmarks.newest(service.engine.pool, 1) == []


async def test_runs_are_listed_shown_and_compared(service: Service) -> None:
    first, second = [str(await finished_run(service.engine)) for _ in range(2)]
    text = await get_page(service, "/benchmarks")
    assert text.count('type="checkbox" name="id"') == 2
    text = await get_page(service, f"/benchmarks/{first}")
    assert text.count("<figure") == 6
    assert "Can this be trusted?" in text
    assert f'href="/api/benchmark/{first}/report.html"' in text
    # What was drawn once is kept.
    assert await get_page(service, f"/benchmarks/{first}") == text
    again = re.search(r'<form action="/benchmarks" method="get">(.*?)</form>', text, re.DOTALL)
    assert again
    assert 'name="rate" value="4.8"' in again[1]
    text = await get_page(service, URL("/benchmarks/compare").with_query([("id", first), ("id", second)]))
    assert "the same plan twice" in text
    assert "<td>≥ 8 s</td><td>≥ 8 s</td>" in text
    await get_page(service, f"/benchmarks/compare?id={first}", 422)
    await get_page(service, f"/benchmarks/compare?id={first}&id={UNKNOWN}", 404)
    await get_page(service, f"/benchmarks/{UNKNOWN}", 404)
    await get_page(service, "/benchmarks/nonsense", 404)


async def test_a_run_is_started_shown_and_cancelled(service: Service) -> None:
    form = {**VALUES, "duration_s": "20", "rate": "1"}
    async with service.client.post("/benchmarks", data=form, allow_redirects=False) as answer:
        assert answer.status == 303
        path = answer.headers["Location"]
    text = await get_page(service, path)
    assert "<progress" in text
    assert 'http-equiv="refresh"' in text
    async with service.client.post("/benchmarks", data=form) as answer:
        assert answer.status == 409
        assert "two at once would measure each other" in await answer.text()
    async with service.client.post(f"{path}/cancel", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, path)
    assert "CANCELLED" in await get_page(service, path)
    async with service.client.post(f"{path}/cancel") as answer:
        assert answer.status == 409


async def ended(service: Service, id: UUID) -> benchmarks.Benchmark:
    """Waits for the end of a run on this replica."""
    await service.app[RUNNER].ended(id, 20)
    run = await benchmarks.get(service.engine.pool, id)
    assert run is not None
    return run


async def test_a_race_runs_both_sides_at_once(service: Service) -> None:
    async with service.client.post("/", data=RACE, allow_redirects=False) as answer:
        assert answer.status == 303
        url = URL(answer.headers["Location"])
    assert {name: url.query[name] for name in RACE if name != "mode"} == {
        name: value for name, value in RACE.items() if name != "mode"
    }
    id = UUID(url.query["race"])

    async def seen_running() -> bool:
        text = await get_page(service, url.update_query(fragment="race"))
        return "data-open" in text and "data-racing" in text

    await until(seen_running, timeout=10)
    run = await ended(service, id)
    assert run.status == "COMPLETED"
    assert run.result is not None
    # One worker a side: while sync waited for its three, async's three were worked on, too.
    outcomes = {mode: run.result[mode]["outcomes"] for mode in Mode}
    assert outcomes[Mode.SYNC]["client_timeout"] == 1
    assert outcomes[Mode.ASYNC]["client_timeout"] == 0
    text = await get_page(service, url)
    assert "1 of 3 gave up" in text
    assert "all 3 were called back" in text
    assert text.count('class="miss"') == 3 + 1
    async with service.client.get(f"/benchmarks/{id}", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"/?race={id}")
    rows = await benchmarks.attempts(service.engine.pool, id, 100)
    starts = {row.mode: row.created_at for row in reversed(rows)}
    assert abs((starts["sync"] - starts["async"]).total_seconds()) < 0.1
    assert len({row.sha256 for row in rows if row.sha256}) == 1
    await get_page(service, f"/?race={UNKNOWN}", 404)
    await get_page(service, "/?race=nonsense", 422)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"client_timeout_s": ""},
        {"distribution": OWN_TIME},
        {"distribution": "bimodal", "slow_share": "0.25"},
        {"distribution": "lognormal", "sigma": "0.5"},
    ],
)
def test_a_plan_comes_back_into_the_form_as_it_was(change: dict[str, str]) -> None:
    body = plan_body({**VALUES, **change})
    again = plan_body({**VALUES, **plan_values(body)})
    shape, shape_again = body.pop("service_time"), again.pop("service_time")
    assert again == body
    if shape is None:
        assert shape_again is None
    else:
        assert shape_again.pop("distribution") == shape.pop("distribution")
        assert shape_again == pytest.approx(shape, rel=1e-4)
