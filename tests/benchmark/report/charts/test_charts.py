"""The pictures: well-formed, without styles or scripts, with a name and a description, whatever the data."""

import math
import re
from array import array
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.report.charts import svg
from reportsim.benchmark.report.charts.load_sweep import sweep_plot
from reportsim.benchmark.report.charts.summary import (
    gantt,
    heat_strip,
    outcome_bars,
    paired_scatter,
    percentile_plot,
    timeline,
)
from reportsim.benchmark.report.charts.svg import Linear, Log
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.theory.load_sweep import Setting, sweep
from reportsim.benchmark.workload import Arrivals
from reportsim.core.model import Mode
from reportsim.core.service_time import ServiceTime
from tests.benchmark.runs import Run, example, overload, rehearsed

NAMESPACE = "{http://www.w3.org/2000/svg}"
COLOUR = re.compile(r"#[0-9a-f]{6}|#fff|none|currentColor|url\(#[\w-]+\)")


def pictures(run: Run, result: dict[str, Any]) -> dict[str, str]:
    sync, other = run.samples[Mode.SYNC], run.samples[Mode.ASYNC]
    return {
        "gantt": gantt(run.plan, sync, other),
        "timeline": timeline(run.plan, sync, other),
        "percentiles": percentile_plot(run.plan, sync, other, prediction=run.prediction),
        "percentiles alone": percentile_plot(run.plan, sync, other),
        "outcomes": outcome_bars({side: result[side] for side in ("sync", "async")}),
        "heat sync": heat_strip(run.plan, sync),
        "heat async": heat_strip(run.plan, other, 30.0),
        "pairs": paired_scatter(sync, other),
    }


def check(picture: str) -> ElementTree.Element:
    """What every picture must be."""
    root = ElementTree.fromstring(picture)
    assert root.tag == f"{NAMESPACE}svg"
    children = list(root)
    assert [child.tag for child in children[:2]] == [f"{NAMESPACE}title", f"{NAMESPACE}desc"]
    assert all(child.text for child in children[:2])
    labels = (root.get("aria-labelledby") or "").split()
    assert labels == [child.get("id") for child in children[:2]]
    assert root.get("role") == "img"
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    for node in root.iter():
        assert node.tag.removeprefix(NAMESPACE) in {
            "svg",
            "title",
            "desc",
            "defs",
            "pattern",
            "g",
            "path",
            "rect",
            "text",
        }
        assert not {"style", "class", "onload", "href"} & set(node.attrib)
        for name in ("fill", "stroke", "color"):
            assert COLOUR.fullmatch(node.get(name, "none")), node.attrib
        for value in node.attrib.values():
            assert "nan" not in value
            assert "inf" not in value
        reference = re.fullmatch(r"url\(#(.+)\)", node.get("fill", ""))
        assert reference is None or reference[1] in ids
    return root


@pytest.mark.parametrize("name", list(pictures(*example())))
def test_an_overload_is_drawn(name: str) -> None:
    check(pictures(*example())[name])


def some(**changes: Any) -> Callable[[], Run]:
    return lambda: overload(**changes)


def with_outcome(outcome: Outcome) -> Run:
    """A run in which every request of both sides ended in one way."""
    run = overload()
    for mode in Mode:
        samples = Samples.empty(mode, run.schedule.due, run.schedule.bounds)
        samples.outcomes = array("b", [outcome]) * len(samples)
        samples.sent = array("d", run.schedule.due)
        run.samples[mode] = samples
    return run


@pytest.mark.parametrize(
    "make",
    [
        some(client_timeout_s=None),
        some(cancel=Cancel.QUEUED),
        some(cancel=Cancel.RUNNING),
        some(arrivals=Arrivals.BURST),
        some(slo_s=0.5),
        some(rate=0.1, duration_s=1.0),
        some(rate=3_000, duration_s=2.0, service_time=None),
        some(service_time={"distribution": "fixed", "mean_ms": 0}),
        *(lambda outcome=outcome: with_outcome(outcome) for outcome in Outcome if outcome > Outcome.OK_LATE),
    ],
)
def test_whatever_happened_is_drawn(make: Callable[[], Run]) -> None:
    run = make()
    for picture in pictures(run, run.conclude()).values():
        check(picture)


@pytest.mark.slow
def test_a_huge_run_makes_no_huge_picture() -> None:
    service = {"distribution": "exponential", "mean_ms": 2}
    run = rehearsed(Plan(rate=1_000, duration_s=30, workers=4, service_time=service))
    for name, picture in pictures(run, run.conclude()).items():
        assert len(picture) < 120_000, name


def test_the_gantt_shows_the_requests_that_are_asked_for() -> None:
    run, _ = example()
    sync, other = run.samples[Mode.SYNC], run.samples[Mode.ASYNC]

    def rows(picture: str) -> list[str]:
        titles = [node.text or "" for node in check(picture).iter(f"{NAMESPACE}title")]
        return [title for title in titles if title.startswith("request ")]

    assert len(rows(gantt(run.plan, sync, other))) == 80
    # It is a typical stretch: as many gave up as do in the whole run.
    typical = rows(gantt(run.plan, sync, other))[:40]
    share = sync.outcomes.count(Outcome.CLIENT_TIMEOUT) / len(sync)
    assert sum("client timeout" in row for row in typical) == pytest.approx(40 * share, abs=3)
    assert [row.partition(":")[0] for row in rows(gantt(run.plan, sync, other, rows=3, first=200))[:3]] == [
        "request 201",
        "request 202",
        "request 203",
    ]
    assert len(rows(gantt(run.plan, sync, other, first=10**6))) == 2


def test_the_description_says_what_the_picture_shows() -> None:
    _, result = example()
    about = check(outcome_bars({side: result[side] for side in ("sync", "async")}))[1].text or ""
    assert f"sync: {result['sync']['outcomes']['ok']} in time" in about
    assert f"{result['sync']['outcomes']['client_timeout']} client timed out" in about


def test_a_sweep_is_a_file_of_its_own() -> None:
    setting = Setting(
        rate=1.0,
        service=ServiceTime({"distribution": "exponential", "mean_ms": 1000}),
        workers=2,
        timeout=4.0,
        duration_s=5.0,
    )
    for values, share in (([1.0, 2.0, 3.0], 0.01), ([0.1, 0.2], 0.5)):
        found = sweep(setting, "rate", values, share, refine=False)
        root = check(sweep_plot(found))
        assert root.get("color") == "#1b1f24"
        assert root[2].get("fill") == "#ffffff"
        assert check(sweep_plot(found, paper=None)).get("color") is None


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
@hypothesis.example(0.0, 5e-324)
@hypothesis.example(0.0, 1e-323)
def test_linear_ticks_are_round_and_within(low: float, span: float) -> None:
    scale = Linear(low, low + span, 0, 100)
    ticks = scale.ticks()
    assert len(ticks) <= 12
    assert all(low - 1e-6 * max(span, 1) <= tick <= low + span + 1e-6 * max(span, 1) for tick in ticks)
    assert all(-0.1 <= scale(tick) <= 100.1 for tick in ticks)


@given(st.floats(1e-6, 1e3), st.floats(1.01, 1e6))
def test_logarithmic_ticks_are_within(low: float, ratio: float) -> None:
    scale = Log(low, low * ratio, 0, 100)
    assert all(-0.5 <= scale(tick) <= 100.5 for tick in scale.ticks())
    assert scale(low * math.sqrt(ratio)) == pytest.approx(50)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["BLUE", "ORANGE", "GREEN", "AMBER", "RED", "GREY", "PURPLE", "PINK", "TEAL", "BROWN"])
@pytest.mark.parametrize("ground", ["#ffffff", "#f6f8fa", "#171d24", "#0f1419"])
def test_every_colour_is_seen_on_every_ground(name: str, ground: str) -> None:
    lighter, darker = sorted((luminance(getattr(svg, name)), luminance(ground)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) > 3.8
