"""The page of a race that has run: its own controls, and whether it can be trusted."""

import re

import pytest

from reportsim.benchmark.results.verdict import describe_distrust, describe_trust, was_busy
from tests.conftest import Service
from tests.engine.jobs import until

FORM = {"mode": "race", "requests": "2", "workers": "1", "mean_ms": "50", "distribution": "fixed", "seed": "5"}
ENDED_S = 30


async def page_of(service: Service, path: str) -> str:
    async with service.client.get(path) as answer:
        assert answer.status == 200
        return await answer.text()


async def run_race(service: Service) -> str:
    """Runs a race to its end and returns its id; all of its requests are shown from the beginning."""
    async with service.client.post("/", data=FORM, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        found = re.search("race=([0-9a-f-]+)", answer.headers["Location"])
    assert found
    text = await page_of(service, f"/?fragment=race&race={found[1]}")
    assert "data-running" in text
    assert re.findall(r"<dd>0<small> of (\d+)</small>", text) == ["2", "2"]

    async def ended() -> bool | None:
        return "data-running" not in await page_of(service, f"/?fragment=race&race={found[1]}") or None

    await until(ended, timeout=ENDED_S)
    return found[1]


async def test_a_race_is_shown_with_its_own_controls_and_its_trust(service: Service) -> None:
    before = await page_of(service, "/?fragment=race&mean_ms=60&distribution=fixed")
    id = await run_race(service)
    # As the list of benchmarks links to it: without controls in the query.
    text = await page_of(service, f"/benchmarks/{id}")
    assert re.search(r'name="mean_ms"[^>]* value="50"', text)
    assert re.search(r'name="requests"[^>]* value="2"', text)
    assert "<option selected>fixed" in text
    assert "Do not trust these times." in text or "No check says that these times are not to be trusted." in text
    # The next prediction takes the time of a 202 from the race instead of an assumption, and says so.
    after = await page_of(service, "/?fragment=race&mean_ms=60&distribution=fixed")
    assert "A 202 and a callback are assumed to take 4 ms each, until a race has measured it here." in before
    assert re.search(r"A 202 and a callback each take [\d.]+ m?s here, as in the newest race\.", after)


@pytest.mark.parametrize(
    ("id", "verdict", "busy"),
    [("H3", "warn", True), ("H3", "fail", False), ("H6", "warn", True), ("H6", "fail", True), ("H10", "warn", False)],
)
def test_a_busy_machine_is_told_by_the_delays_of_its_processes(id: str, verdict: str, busy: bool) -> None:
    assert was_busy({"checks": [{"id": id, "verdict": verdict}]}) == busy


def test_only_failed_checks_forbid_trust() -> None:
    checks = [{"id": "H1", "detail": "Late.", "verdict": "fail"}, {"id": "H2", "detail": "Odd.", "verdict": "warn"}]
    assert describe_distrust({"checks": checks}) == ["H1: Late."]
    plug = {"id": "H15", "verdict": "fail", "detail": "Pulled."}
    assert describe_distrust({"checks": [*checks, plug]}) == ["H15: Pulled."]
    assert describe_trust({"checks": [*checks, plug]}) == "Do not trust this run: H15 failed."
