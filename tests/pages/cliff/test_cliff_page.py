"""The cliff on the home page, as a browser without JavaScript gets it."""

import re
from dataclasses import replace

import pytest
from yarl import URL

from reportsim.pages.cliff.figure import load_cliff
from reportsim.pages.cliff.scenario import LOADS, plan_at
from reportsim.settings import Settings
from tests.benchmark.runs import finished_run
from tests.conftest import Service, serving
from tests.engine.jobs import until

ENDED_S = 90


async def page_of(service: Service, path: str, status: int = 200) -> str:
    async with service.client.get(path, headers={"Accept": "text/html"}) as answer:
        assert answer.status == status
        return await answer.text()


async def measure(service: Service, load: str, status: int) -> str:
    """Asks for a run at a load; returns its id, or the page that refuses it."""
    form = {"mode": "cliff", "load": load}
    async with service.client.post("/", data=form, allow_redirects=False) as answer:
        assert answer.status == status
        if status != 303:
            return await answer.text()
        found = re.fullmatch(rf"/\?load={load}&measured=([0-9a-f-]+)#cliff", answer.headers["Location"])
    assert found
    return found[1]


async def test_the_cliff_comes_first_and_says_what_it_is_about(service: Service) -> None:
    text = await page_of(service, "/")
    assert text.index('id="cliff"') < text.index('id="race"') < text.index('id="requests"')
    assert re.search(r'<h1 id="cliff-title">Wait, or be called back\?</h1>', text)
    assert f"falls off at <b>{load_cliff().knee} % load</b>" in text
    assert "It does not make the report faster." in text
    assert text.count("data-step=") == 5


@pytest.mark.parametrize("load", [50, 95, 120])
async def test_the_still_shows_the_end_of_the_run_at_the_load(service: Service, load: int) -> None:
    still = load_cliff().stills[load]
    text = await page_of(service, f"/?load={load}")
    assert f'value="{load}"' in text
    assert f"{still.clients} sync clients, of whom {still.gave_up} timed out" in text
    assert f"{still.clients} async clients, of whom none timed out" in text
    assert f'd="{still.gone}"' in text


async def test_a_load_that_the_control_has_not_is_refused(service: Service) -> None:
    for load in ("51", "45", "125", "many", ""):
        await page_of(service, f"/?load={load}", 422)
    assert "The load is a percentage from 50 to 120 in steps of 5." in await measure(service, "51", 422)


async def test_only_the_whole_page_and_its_own_part_have_the_cliff(service: Service) -> None:
    part = await page_of(service, "/?fragment=cliff&load=60")
    assert "<html" not in part
    assert 'id="race"' not in part
    assert part.strip() in await page_of(service, "/?load=60")
    for query in ("fragment=race", "fragment=list", "status=FAILED"):
        assert 'id="cliff"' not in await page_of(service, f"/?{query}")


async def test_one_run_at_a_time_is_measured_with_requests_of_its_own(service: Service) -> None:
    id = await measure(service, "70", 303)
    async with service.client.get(f"/api/benchmark/{id}") as answer:
        plan = (await answer.json())["plan"]
    seed = plan["seed"]
    assert plan == plan_at(70, seed).as_json()
    assert re.search(r'value="cliff"[^>]* disabled>Running…', await page_of(service, "/"))
    assert "Two at once would distort each other" in await measure(service, "80", 409)
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        assert answer.status == 200
    assert "data-measuring" not in await page_of(service, "/")
    other = await measure(service, "70", 303)
    async with service.client.get(f"/api/benchmark/{other}") as answer:
        assert (await answer.json())["plan"]["seed"] != seed
    async with service.client.post(f"/api/benchmark/{other}/cancel") as answer:
        assert answer.status == 200


async def test_a_race_that_runs_is_not_taken_for_a_measurement(service: Service) -> None:
    form = {"mode": "race", "requests": "2", "workers": "1", "mean_ms": "5000", "distribution": "fixed"}
    async with service.client.post("/", data=form, allow_redirects=False) as answer:
        id = URL(answer.headers["Location"]).query["race"]
    text = await page_of(service, "/?fragment=cliff")
    assert re.search(r'value="cliff"[^>]* disabled data-other>Measure at this load', text)
    assert "A race is running: this can be measured when it has ended." in text
    async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
        assert answer.status == 200
    text = await page_of(service, "/?fragment=cliff")
    assert "with real requests, in 20 s" in text
    assert "data-other" not in text


async def test_measuring_counts_against_the_limit(settings: Settings) -> None:
    async with serving(replace(settings, async_rate=1)) as service:
        id = await measure(service, str(LOADS[0]), 303)
        text = await measure(service, "110", 429)
        assert "The async quota is used up." in text
        assert 'value="110"' in text
        async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
            assert answer.status == 200


async def test_finished_runs_are_points_that_link_to_their_page(service: Service) -> None:
    assert 'class="point' not in (await page_of(service, "/")).partition('id="cliff-points"')[2].partition("</g>")[0]
    id = await finished_run(service.engine)
    text = await page_of(service, "/")
    points = text.partition('id="cliff-points"')[2].partition("</g>")[0]
    assert points.count('class="point other"') == 1
    assert f'<a href="/benchmarks/{id}">' in text
    assert "Measured at 120 % load: 3 % of sync clients timed out." in text


# A real run: eight seconds of load for each side.
@pytest.mark.slow
async def test_a_measured_run_becomes_a_point_at_its_load(service: Service) -> None:
    id = await measure(service, "60", 303)

    async def ended() -> bool | None:
        return f'<a href="/benchmarks/{id}">' in await page_of(service, "/") or None

    await until(ended, timeout=ENDED_S)
    text = await page_of(service, "/")
    assert re.search(r"Measured at 60 % load: [\d.]+ % of sync clients timed out\.", text)
    assert re.search(rf'cx="{100 * (60 - 50) / 70:.2f}%"', text)
