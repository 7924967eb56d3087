"""What is read out of answers: pointers, Server-Timing, Retry-After, events."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.results.objectives import Objective
from reportsim.measure.conclusion import ObjectiveError, parse_objectives
from reportsim.measure.plan import MeasurePlan
from reportsim.measure.server_timing import service_s
from reportsim.measure.target.documents import find
from reportsim.measure.ways.polling import retry_after_s
from reportsim.measure.ways.streams import MOST_DATA, EventReader

DOCUMENT = {"a": [{"b": "c"}, 2], "~x/y": True, "": {"": 5}}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/a/0/b", "c"),
        ("/a/1", 2),
        ("/a/2", None),
        ("/a/-1", None),
        ("/a/b", None),
        ("/~0x~1y", True),
        ("//", 5),
        ("/z/z", None),
    ],
)
def test_pointers_lead_where_rfc_6901_says(pointer: str, value: object) -> None:
    assert find(DOCUMENT, pointer) == value


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("app;dur=12.5", 0.0125),
        ("db;dur=3, total;dur=20, cpu;dur=30", 0.02),
        ("db;dur=3, cpu;dur=30", 0.03),
        ("queue;dur=5, service;dur=40, total;dur=45", 0.04),
        ('cache;desc="Cache, Read";dur=23.2', 0.0232),
        ('app;dur="7"', 0.007),
        ("missedCache", math.nan),
        ("app;dur=long", math.nan),
        ("", math.nan),
        ("app;dur=999999999", math.nan),
    ],
)
def test_server_timing(header: str, seconds: float) -> None:
    assert service_s({"Server-Timing": header}) == pytest.approx(seconds, nan_ok=True)


@given(st.text())
def test_no_server_timing_is_an_error(header: str) -> None:
    assert not service_s({"Server-Timing": header}) < 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), ("0", 0), ("", 0), ("-1", 0), ("soon", 0), ("Sat, 28 Nov 2026 12:00:05 GMT", 5)],
)
def test_retry_after(header: str, seconds: float) -> None:
    assert retry_after_s({"Retry-After": header}, datetime(2026, 11, 28, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("header", ["Sat, 28 Nov 2026 11:59:00 GMT", "Fri, 31 Feb 2026 12:00:00 GMT", "9" * 30])
def test_a_time_that_is_over_or_is_none_asks_for_no_wait(header: str) -> None:
    assert retry_after_s({"Retry-After": header}, datetime(2026, 11, 28, 12, tzinfo=UTC)) == 0


def test_events_are_put_together_as_the_standard_says() -> None:
    lines = [": comment", "event: x", "id: 7", "data: one", "data:two", "", "data", "", "id: a\0b", "retry: 1", ""]
    reader = EventReader()
    found = [data for line in lines if (data := reader.feed(line)) is not None]
    assert found == ["one\ntwo"]
    assert reader.last_id == "7"


def test_an_event_without_an_end_is_not_kept() -> None:
    reader = EventReader()
    for _ in range(40):
        reader.feed("data: " + "x" * (MOST_DATA // 20))
    assert len(reader.feed("") or "") <= MOST_DATA + 40


PLAN = MeasurePlan(polled=True)


@pytest.mark.parametrize(
    ("text", "side", "objective"),
    [
        ("async.time_to_result_ms.p95 < 2000", "async", Objective("time_to_result_ms.p95", "<", 2_000)),
        ("sync.outcomes.shed<=0", "sync", Objective("outcomes.shed", "<=", 0)),
        (" sync.goodput >= 7.5 ", "sync", Objective("goodput", ">=", 7.5)),
        ("async.shares.callback_lost < 0.01", "async", Objective("shares.callback_lost", "<", 0.01)),
        ("async.earliest_ms.p50 < 1", "async", Objective("earliest_ms.p50", "<", 1)),
        ("sync.open_connections.max < 9", "sync", Objective("open_connections.max", "<", 9)),
    ],
)
def test_an_objective_is_a_bound_on_a_number_of_a_side(text: str, side: str, objective: Objective) -> None:
    assert parse_objectives([text], PLAN) == {"sync": [], "async": [], side: [objective]}


@pytest.mark.parametrize(
    "text",
    ["", "p95 < 3", "async.p95 < 2", "async.time_to_result_ms < 2", "sync.earliest_ms.p50 < 1", "a.goodput > 1"],
)
def test_what_is_no_objective_is_refused_before_anything_is_sent(text: str) -> None:
    with pytest.raises(ObjectiveError):
        parse_objectives([text], PLAN)


def test_without_objectives_those_of_a_benchmark_hold() -> None:
    lost = ["client_timeout", "refused", "shed", "http_4xx", "http_5xx", "job_failed", "callback_lost"]
    usual = (
        Objective("time_to_result_ms.p95", "<=", 1000 * PLAN.slo_s),
        *(Objective(f"outcomes.{outcome}", "<=", 0) for outcome in lost),
    )
    assert parse_objectives([], PLAN) == {"sync": usual, "async": usual}
