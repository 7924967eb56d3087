"""The benchmark pages and the race, as a browser without JavaScript gets them."""

import re
from uuid import UUID

import pytest
from yarl import URL

from reportsim.benchmark.plan import Plan
from reportsim.core.json import dumps
from reportsim.core.model import Mode
from reportsim.pages.benchmark_form import OWN_TIME, VALUES, form_values, plan_body, plan_values
from reportsim.store import benchmarks
from reportsim.web.keys import RUNNER
from tests.benchmark.runs import finished_run, rehearsed
from tests.conftest import Service
from tests.engine.jobs import until

UNKNOWN = "01890000-0000-7000-8000-000000000000"
RACE = {
    "mode": "race",
    "requests": "3",
    "workers": "1",
    "distribution": "fixed",
    "mean_ms": "800",
    "client_timeout_s": "2",
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


async def test_the_form_has_a_prediction(service: Service) -> None:
    text = await get_page(service, "/benchmarks")
    assert "No runs yet." in text
    assert "Queueing theory predicts the result before the run" in text
    text = await get_page(service, "/benchmarks?predict=yes&rate=200&duration_s=5")
    assert "more than the workers can serve" in text
    assert 'value="200"' in text
    part = await get_page(service, "/benchmarks/prediction?rate=5&duration_s=5&client_timeout_s=")
    assert "No sync client will time out, since none has a time-out" in part
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
        ({"ledger": "none"}, "There is no such ledger. Choose one of: demo, tiny."),
        ({"arrivals": "never"}, "Must be one of"),
        ({"blocks": "3"}, "Must be greater than or equal to 4"),
        ({"blocks": "20", "duration_s": "10"}, "shortest block is 1 s"),
        ({"both": "neither"}, "Must be one of"),
    ],
)
async def test_a_refused_plan_starts_nothing(service: Service, form: dict[str, str], said: str) -> None:
    async with service.client.post("/benchmarks", data=form) as answer:
        text = await answer.text()
        assert answer.status == 422
        assert said in text
        assert "no run was started" in text
    assert said in await get_page(service, URL("/benchmarks/prediction").with_query(form), 422)
    assert await benchmarks.newest(service.engine.pool, 1) == []


async def test_a_nul_in_a_query_is_refused(service: Service) -> None:
    for path in ("/benchmarks/prediction", "/benchmarks"):
        for name in ("ledger", "report_type", "rate"):
            text = await get_page(service, URL(path).with_query({"predict": "yes", name: "a\0b"}), 400)
            assert "NUL" in text


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
    assert "both runs have the same plan" in text
    assert '<td class="figure">≥ 8 s</td><td class="figure">≥ 8 s</td>' in text
    assert "No metric differs by 2 % or more beyond chance." in text
    assert re.findall(r'<title id="compared-(\w+)-title">', text) == ["sync", "async"]
    await get_page(service, f"/benchmarks/compare?id={first}", 422)
    await get_page(service, f"/benchmarks/compare?id={first}&id={UNKNOWN}", 404)
    await get_page(service, f"/benchmarks/{UNKNOWN}", 404)
    await get_page(service, "/benchmarks/nonsense", 404)


async def test_the_older_run_comes_first_and_one_that_is_not_trusted_is_marked(service: Service) -> None:
    pool = service.engine.pool
    older, newer = str(await finished_run(service.engine)), str(await finished_run(service.engine))
    check = [{"id": "H1", "verdict": "fail", "detail": "The generator was late."}]
    await pool.execute("UPDATE benchmarks SET created_at = created_at - interval '1 hour' WHERE id = $1", UUID(older))
    await pool.execute(
        "UPDATE benchmarks SET result = jsonb_set(result::jsonb, '{checks}', $2::text::jsonb)::json WHERE id = $1",
        UUID(older),
        dumps(check).decode(),
    )
    for ids in ((older, newer), (newer, older)):
        text = await get_page(service, URL("/benchmarks/compare").with_query([("id", id) for id in ids]))
        columns = re.findall(r'<th scope="col"><a href="/benchmarks/([^"]+)">.*?</a>(.*?)</th>', text)
        assert [id for id, _ in columns[:2]] == [older, newer]
        assert ["not trusted" in mark for _, mark in columns[:2]] == [True, False]
        assert len(re.findall(r'role="note">Do not trust the first run.*H1: The generator was late.', text)) == 1
        assert "Do not trust the second run" not in text
        async with service.client.get(f"/api/benchmark/{ids[0]}/comparison?with={ids[1]}") as answer:
            compared = await answer.json()
        assert (compared["first"], compared["second"]) == (older, newer)
        assert compared["distrust"] == {"first": ["H1: The generator was late."], "second": []}


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
        assert "Two at once would distort each other" in await answer.text()
    async with service.client.post(f"{path}/cancel", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, path)
    assert "CANCELLED" in await get_page(service, path)
    async with service.client.post(f"{path}/cancel") as answer:
        assert answer.status == 409


@pytest.mark.parametrize(
    ("preset", "duration_s", "blocks"), [("quick", 30, 10), ("proper", 120, 20), ("thorough", 300, 20)]
)
async def test_a_preset_sets_the_length_and_keeps_the_other_fields(
    service: Service, preset: str, duration_s: int, blocks: int
) -> None:
    given = {**VALUES, "rate": "7", "duration_s": "33", "blocks": "5", "seed": "9"}
    text = await get_page(service, URL("/benchmarks").with_query({**given, "preset": preset}))
    inputs = dict(re.findall(r'<input id="(\w+)" [^>]*value="([^"]*)"', text))
    assert (inputs["duration_s"], inputs["blocks"]) == (str(duration_s), str(blocks))
    assert (inputs["rate"], inputs["seed"]) == ("7", "9")
    pressed = re.findall(r'value="(\w+)" aria-pressed="true"', text)
    assert pressed == [preset]
    # Without JavaScript the form itself asks for the preset.
    assert text.count('formmethod="get" formnovalidate name="preset"') == 3


def test_the_quick_preset_shows_time_outs_of_sync_and_none_of_async() -> None:
    """On an ideal server: the load of the form is what a new user sees first."""
    body = plan_body(form_values({"preset": "quick"}))
    result = rehearsed(Plan.from_json(body), prediction_runs=1).conclude()
    share = result["sync"]["shares"]["client_timeout"]
    assert share["low"] > 0.005
    assert share["high"] < 0.4
    assert result["async"]["outcomes"]["client_timeout"] == result["async"]["outcomes"]["callback_lost"] == 0
    assert "No async request was lost" in result["verdict"]
    assert "too short" not in result["verdict"]


async def test_a_short_run_without_blocks_has_as_many_as_fit(service: Service) -> None:
    text = await get_page(service, "/benchmarks?duration_s=2&predict=yes")
    assert re.search(r'<input id="blocks" [^>]*value=""', text)
    assert "requests per side" in text


async def test_an_a_a_run_is_shown_with_its_sides(service: Service) -> None:
    form = {**VALUES, "duration_s": "20", "blocks": "5", "rate": "1", "both": "async"}
    async with service.client.post("/benchmarks", data=form, allow_redirects=False) as answer:
        assert answer.status == 303
        path = answer.headers["Location"]
    text = await get_page(service, path)
    assert "sides a and b are both async" in text
    assert 'data-sides="a b"' in text
    assert re.findall(r'<th scope="col">(\w+)</th>', text) == ["a", "b"]
    assert {"a.queue", "b.queue"} <= set(re.findall(r'data-figure="([\w.]+)"', text))
    assert "5 block pairs of 4 s" in text
    await service.client.post(f"{path}/cancel")
    text = await get_page(service, path)
    again = re.search(r'<form action="/benchmarks" method="get">(.*?)</form>', text, re.DOTALL)
    assert again
    assert 'name="both" value="async"' in again[1]
    assert 'name="blocks" value="5"' in again[1]
    assert "A/A async" in await get_page(service, "/benchmarks")


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
        return "data-open" in text and "data-running" in text

    await until(seen_running, timeout=10)
    run = await ended(service, id)
    assert run.status == "COMPLETED"
    assert run.result is not None
    # One worker a side: while sync waited for its three, async's three were worked on, too.
    outcomes = {mode: run.result[mode]["outcomes"] for mode in Mode}
    assert outcomes[Mode.SYNC]["client_timeout"] == 1
    assert outcomes[Mode.ASYNC]["client_timeout"] == 0
    text = await get_page(service, url)
    assert "1 of 3 timed out" in text
    assert "all 3 were called back" in text
    assert text.count('class="miss"') == 3 + 1
    async with service.client.get(f"/benchmarks/{id}", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"/?race={id}")
    rows = await benchmarks.attempts(service.engine.pool, id, 100)
    starts = {row.mode: row.created_at for row in reversed(rows)}
    # One side after the other would be three service times apart.
    assert abs((starts["sync"] - starts["async"]).total_seconds()) < float(RACE["mean_ms"]) / 1000
    assert len({row.sha256 for row in rows if row.sha256}) == 1
    await get_page(service, f"/?race={UNKNOWN}", 404)
    await get_page(service, "/?race=nonsense", 422)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"client_timeout_s": ""},
        {"blocks": "8"},
        {"both": "async"},
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
