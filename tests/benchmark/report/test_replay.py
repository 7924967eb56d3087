"""The file that plays a run: it has the recorded moments, needs nothing else, and stays small."""

import base64
import hashlib
import html
import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.report.replay import LONGEST_S, SHORTEST_S, SPEEDS, choose_speed, html_replay
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.verdict import SideOutcome, describe_race
from reportsim.core.model import Mode
from reportsim.pages.race.controls import read_controls
from tests.benchmark.runs import Run, example, rehearsed


def a_race() -> Run:
    """Sixteen requests on each side, some of whose sync clients give up."""
    return rehearsed(read_controls({"requests": "16", "client_timeout_s": "2"}).plan)


def replay(run: Run, **more: Any) -> str:
    return html_replay(run.plan, run.conclude(), run.samples, **more)


def recorded(text: str) -> dict[str, Any]:
    found = re.search(r'id="recorded">(.*?)</script>', text)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def drawn(text: str) -> list[int]:
    """How many requests are drawn on each side."""
    picture = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    return [len(group) for group in picture.iter() if group.get("id") in {"gantt-sync", "gantt-async"}]


def test_it_has_the_moments_of_every_request_of_a_race() -> None:
    run = a_race()
    text = replay(run)
    assert drawn(text) == [16, 16]
    for side in recorded(text)["sides"]:
        samples = run.samples[side["name"]]
        assert side["sent"] == pytest.approx(list(samples.sent), abs=1e-4)
        for index, (result, lost) in enumerate(zip(side["result"], side["lost"], strict=True)):
            assert (result is None) != (lost is None)
            assert (result is not None) == samples.resolved(index)
            if result is not None:
                assert result == pytest.approx(samples.result[index], abs=1e-4)
            else:
                assert lost == side["gone"][index] == pytest.approx(samples.due[index] + 2, abs=1e-4)
    gave_up = run.samples[Mode.SYNC].outcomes.count(Outcome.CLIENT_TIMEOUT)
    assert gave_up > 0
    assert f"{gave_up} of 16 timed out." in text
    assert "all 16 were called back with their report." in text


def test_it_needs_nothing_else_and_allows_nothing_else() -> None:
    text = replay(a_race())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    for name, pattern in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (only,) = re.findall(pattern, text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(only.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'; " in policy[1]
    assert policy[1].startswith("default-src 'none'; ")
    markup = re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert re.findall(r'\s(?:src|href|style|on\w+)="([^"]*)"', markup) == ["data:,"]


def test_what_a_run_brings_along_is_escaped() -> None:
    run, hostile = a_race(), "</script><script>alert(1)</script>\"'&"
    result = run.conclude()
    result["checks"][0] |= {"verdict": "fail", "detail": hostile}
    text = html_replay(run.plan, result, run.samples, id=hostile, finished_at=hostile)
    assert "<script>alert" not in text
    assert text.count(html.escape(hostile).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")) == 3


def test_a_long_run_is_a_stretch_of_it_and_no_longer_file() -> None:
    _, result = example()
    run, _ = example()
    text = html_replay(run.plan, result, run.samples)
    assert drawn(text) == [40, 40]
    assert "Drawn and counted are requests" in text
    assert [len(side["sent"]) for side in recorded(text)["sides"]] == [40, 40]
    service = {"distribution": "exponential", "mean_ms": 2}
    busy = rehearsed(Plan(rate=1_000, duration_s=8, workers=4, service_time=service))
    assert len(replay(busy)) < 60_000
    assert len(text) < 60_000


@pytest.mark.parametrize("length_s", [0.05, 0.3, 1.9, 2.0, 3.7, 15.0, 16.0, 180.0, 700.0])
def test_a_replay_takes_neither_a_moment_nor_too_long(length_s: float) -> None:
    assert SHORTEST_S <= length_s / choose_speed(length_s) <= LONGEST_S


def test_the_speed_is_that_of_the_run_where_it_can_be() -> None:
    assert choose_speed(4.0) == 1.0
    assert (choose_speed(1e-6), choose_speed(1e6)) == (SPEEDS[0], SPEEDS[-1])


def test_a_race_without_time_outs_is_not_said_to_have_delivered_what_it_did_not() -> None:
    sync = SideOutcome(offered=12, results=10, gave_up=0, connected_s=1.0)
    assert "10 of 12 got their report" in describe_race(sync, sync)
