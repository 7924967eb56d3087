"""The charts on pages: the timeline of a request, the sides of a race, the density of service times."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.schedule import make_schedule
from reportsim.core.model import CallbackLog, CallbackStatus, Mode, Request, Status
from reportsim.core.service_time import ServiceTime
from reportsim.pages.race.controls import controls_of, read_controls
from reportsim.pages.race.density_chart import draw_density
from reportsim.pages.race.live import attempts_by_index, sides_from_rows
from reportsim.pages.race.model import RaceRequest, RaceSide
from reportsim.pages.race.prediction import predict_race
from reportsim.pages.timeline import Axis, draw_timeline
from reportsim.store.benchmarks import Attempted

START = datetime(2026, 1, 2, tzinfo=UTC)
WAITS = (2.0, 4.0, 8.0)


def at(milliseconds: float) -> datetime:
    return START + timedelta(milliseconds=milliseconds)


def a_request() -> Request:
    return Request(
        id=UUID(int=1),
        mode=Mode.ASYNC,
        status=Status.COMPLETED,
        input_payload={},
        callback_url="http://example.org/",
        callback_status=CallbackStatus.SUCCESS,
        callback_attempts=2,
        endpoint="/api/async",
        ledger_id=1,
        ledger_version=1,
        report_version=1,
        created_at=START,
        started_at=at(100),
        completed_at=at(400),
    )


def an_attempt(number: int, start: float, took: float, success: bool, following: float | None) -> CallbackLog:
    return CallbackLog(
        id=UUID(int=number),
        request_id=UUID(int=1),
        series=1,
        attempt_number=number,
        status_code=200 if success else 503,
        success=success,
        reason=None if success else "status",
        error_message=None,
        response_time_ms=took,
        attempted_at=at(start),
        remote_ip=None,
        response_excerpt=None,
        next_attempt_at=None if following is None else at(following),
    )


def test_a_timeline_waits_as_long_as_the_result_says() -> None:
    """What the claim takes in the database is time with the worker, in the figures and in the picture."""
    timings = {"queue": 0.012, "service": 399.988, "total": 400.0}
    done = replace(a_request(), started_at=at(7), result_payload={"timings_ms": timings})
    drawn = draw_timeline(done, [], at(5_000))
    assert "in the queue for 0.012 ms" in drawn.description
    assert "with the worker for 400 ms" in drawn.description
    assert "in the queue for 7" in draw_timeline(replace(done, result_payload=None), [], at(5_000)).description


def test_a_timeline_has_every_stretch_in_its_place() -> None:
    logs = [an_attempt(1, 400, 100, False, 900), an_attempt(2, 900, 100, True, None)]
    drawn = draw_timeline(a_request(), logs, at(5_000))
    assert [(span.kind, span.start, span.width) for span in drawn.spans] == [
        ("queue", 0, 10),
        ("work", 10, 30),
        ("miss", 40, 10),
        ("pause", 50, 40),
        ("call", 90, 10),
    ]
    assert "attempt 1 failed (503) after 100 ms" in drawn.description
    assert not any(span.open for span in drawn.spans)


def test_a_timeline_goes_on_until_now_and_reaches_the_next_attempt() -> None:
    row = replace(a_request(), status=Status.PROCESSING, completed_at=None, callback_status=CallbackStatus.PENDING)
    drawn = draw_timeline(row, [], at(500))
    assert [(span.kind, span.open) for span in drawn.spans] == [("queue", False), ("work", True)]
    assert sum(span.width for span in drawn.spans) == pytest.approx(100)
    waiting = replace(a_request(), callback_status=CallbackStatus.PENDING)
    drawn = draw_timeline(waiting, [an_attempt(1, 400, 100, False, 1_000)], at(600))
    assert drawn.spans[-1].kind == "pause"
    assert drawn.axis.length_ms == 1_000


@given(st.floats(0.01, 1e7))
def test_an_axis_has_a_few_round_ticks(longest: float) -> None:
    ticks = Axis(longest).ticks
    assert 2 <= len(ticks) <= 6
    assert all(0 < place < 100 for place, _ in ticks)


PARAMETERS = st.one_of(
    st.builds(lambda mean: {"distribution": "exponential", "mean_ms": mean}, st.floats(50, 5_000)),
    st.builds(lambda mean: {"distribution": "fixed", "mean_ms": mean}, st.floats(50, 5_000)),
    st.builds(
        lambda median, sigma: {"distribution": "lognormal", "median_ms": median, "sigma": sigma, "max_ms": 60_000},
        st.floats(50, 5_000),
        st.floats(0.1, 2),
    ),
    st.builds(
        lambda low, more: {"distribution": "uniform", "min_ms": low, "max_ms": low + more},
        st.floats(0, 500),
        st.floats(1, 5_000),
    ),
    st.builds(
        lambda fast, slow, share: {"distribution": "bimodal", "fast_ms": fast, "slow_ms": slow, "slow_share": share},
        st.floats(10, 500),
        st.floats(600, 5_000),
        st.floats(0.01, 0.99),
    ),
)


@given(PARAMETERS, st.floats(1, 8_000))
def test_the_share_above_a_time_is_that_of_the_draws(parameters: dict[str, object], time: float) -> None:
    draws = ServiceTime(parameters).draws_s(2_000, Random(1))
    measured = sum(draw * 1000 > time for draw in draws) / len(draws)
    assert ServiceTime(parameters).survival(time) == pytest.approx(measured, abs=0.05)


@given(PARAMETERS, st.floats(0.2, 30))
def test_a_picture_stays_in_its_frame(parameters: dict[str, object], timeout: float) -> None:
    drawn = draw_density(ServiceTime(parameters, 60_000), timeout)
    numbers = [float(word.strip("MLZ")) for word in f"{drawn.curve} {drawn.beyond}".split() if word.strip("MLZ")]
    assert all(0 <= number <= 100 for number in numbers)
    assert 0 < drawn.timeout < 100


def test_the_expected_race_is_that_of_the_drawn_service_times() -> None:
    controls = read_controls({"distribution": "fixed", "mean_ms": "1000", "requests": "6", "workers": "2"})
    race = predict_race(controls, WAITS)
    sync, later = race.sides
    assert [request.disconnected for request in sync.requests] == [1000, 1000, 2000, 2000, 3000, 3000]
    assert sync.gave_up == 0
    assert sync.connected_ms == 12_000
    assert later.connected_ms < 50
    assert [round(request.result, -2) for request in later.requests] == [1000, 1000, 2000, 2000, 3000, 3000]


def test_clients_that_give_up_waste_worker_time() -> None:
    controls = read_controls(
        {"distribution": "fixed", "mean_ms": "1000", "requests": "4", "workers": "1", "client_timeout_s": "1.5"}
    )
    sync, later = predict_race(controls, WAITS).sides
    assert (sync.gave_up, len(sync.results)) == (3, 1)
    assert (later.gave_up, len(later.results)) == (0, 4)
    kinds = [[span.kind for span in request.spans(Axis(4_000), 4_000)] for request in sync.requests]
    assert kinds[0] == ["hold", "queue", "work"]
    assert kinds[1][-2:] == ["work", "wasted"]
    assert kinds[3][-1] == "wasted"
    assert "work" not in kinds[3]


def test_the_median_counts_clients_that_gave_up() -> None:
    controls = {"distribution": "fixed", "mean_ms": "1000", "workers": "1", "client_timeout_s": "1.5"}
    sync, later = predict_race(read_controls({**controls, "requests": "4"}), WAITS, 0).sides
    assert (sync.median_text, later.median_text) == ("≥ 1.5 s", "2.5 s")
    sync, _ = predict_race(read_controls({**controls, "requests": "2"}), WAITS).sides
    assert sync.median_text == "≥ 1.25 s"
    sync, _ = predict_race(read_controls({**controls, "requests": "2", "client_timeout_s": "9"}), WAITS).sides
    assert sync.median_text == "1.5 s"
    assert replace(sync, now=1_500).median_text == ""


@pytest.mark.parametrize("distribution", ["fixed", "exponential", "lognormal", "bimodal"])
def test_the_controls_of_a_race_are_those_it_was_started_with(distribution: str) -> None:
    texts = {"distribution": distribution, "requests": "5", "workers": "2", "mean_ms": "350", "client_timeout_s": "1.2"}
    given = read_controls({**texts, "callback_failures": "1", "seed": "3"})
    assert controls_of(Plan.from_json(given.plan.as_json())) == given


def test_failing_callbacks_cost_their_waits() -> None:
    plain = predict_race(read_controls({}), WAITS).sides[1]
    failing = predict_race(read_controls({"callback_failures": "2"}), WAITS).sides[1]
    for first, second in zip(plain.requests, failing.requests, strict=True):
        assert second.result - first.result == pytest.approx(6_000, abs=20)
        assert [attempt.delivered for attempt in second.attempts] == [False, False, True]


def test_what_has_not_ended_goes_on_until_now() -> None:
    request = RaceRequest(number=1, mode=Mode.SYNC, started=100)
    spans = request.spans(Axis(1_000), 500)
    assert [(span.kind, span.start, span.width, span.open) for span in spans] == [
        ("hold", 0, 50, True),
        ("queue", 0, 10, False),
        ("work", 10, 40, True),
    ]
    side = RaceSide(mode=Mode.SYNC, requests=[request], now=500)
    assert (side.connected_ms, side.results, side.median_text) == (500, [], "")


def test_another_replica_draws_the_lanes_from_their_rows() -> None:
    plan = read_controls({"distribution": "fixed", "mean_ms": "400", "requests": "2", "client_timeout_s": "0.5"}).plan
    seeds = make_schedule(plan).seeds
    indices = {seed: index for index, seed in enumerate(seeds)}

    def a_row(mode: str, index: int, started: float | None, ended: float | None, *attempt: float) -> Attempted:
        return Attempted(
            id=UUID(int=index),
            mode=mode,
            seed=seeds[index],
            created_at=START,
            started_at=None if started is None else at(started),
            completed_at=None if ended is None else at(ended),
            sha256=None,
            attempted_at=at(attempt[0]) if attempt else None,
            response_time_ms=attempt[1] if attempt else None,
            success=True if attempt else None,
        )

    rows = [
        a_row("sync", 0, 0, 400),
        a_row("async", 0, 0, 400, 410, 5),
        a_row("sync", 1, 400, None),
        a_row("async", 1, None, None),
    ]
    sync, later = sides_from_rows(plan, rows, indices, attempts_by_index(rows, indices), at(700))
    assert (sync.now, sync.gave_up, sync.results) == (700, 1, [400])
    assert [(request.disconnected, request.gave_up) for request in sync.requests] == [(400, False), (500, True)]
    assert later.results == [415]
    assert [span.kind for span in later.requests[1].spans(Axis(1_000), 700)] == ["hold", "queue"]
    assert [len(side.requests) for side in sides_from_rows(plan, [], indices, {}, at(0))] == [0, 0]


@pytest.mark.parametrize(
    "given",
    [{"requests": "25"}, {"workers": "0"}, {"mean_ms": "nan"}, {"distribution": "odd"}, {"client_timeout_s": "x"}],
)
def test_controls_have_bounds(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        read_controls(given)


@given(st.floats(0.1, 1.5), st.floats(0.01, 0.5), st.floats(100, 3_000))
def test_the_mean_is_the_same_whatever_the_distribution(sigma: float, share: float, mean: float) -> None:
    for name in ("fixed", "exponential", "lognormal", "bimodal"):
        controls = read_controls(
            {"distribution": name, "mean_ms": str(mean), "sigma": str(sigma), "slow_share": str(share)}
        )
        assert math.isclose(ServiceTime(controls.service_time).mean_s, mean / 1000, rel_tol=0.15)
