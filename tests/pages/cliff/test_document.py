"""What the moving picture shows: the trajectories, the curve and its knee."""

import functools
import json
import statistics
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.theory.load_sweep import Setting, count_timeouts
from reportsim.benchmark.theory.transient import run_from_empty
from reportsim.pages.cliff.document import KNEE_SHARE, expected_share, make_document
from reportsim.pages.cliff.scenario import DURATION_S, LOADS, TIMEOUT_S, WORKERS, plan_at
from reportsim.pages.cliff.trajectories import RECEIVER_DOWN_MS, WAITS_S
from tools.simulate_cliff import FILE

Json = dict[str, Any]
RUNS = 150
MOST_BYTES = 250_000


@functools.cache
def document() -> Json:
    """The document as pages get it."""
    found: Json = json.loads(FILE.read_bytes())
    return found


def trajectories() -> Sequence[tuple[str, int, Json]]:
    """Every trajectory of the steps with a load."""
    return [(step, load, document()[step][str(load)]) for step in ("fixed", "chance") for load in LOADS]


def test_the_file_is_what_the_simulation_computes_now() -> None:
    assert FILE.read_bytes() == make_document().as_json(), "simulate it again: python -m tools.simulate_cliff"
    assert FILE.stat().st_size < MOST_BYTES


def test_a_client_is_red_exactly_if_it_waited_longer_than_its_time_out() -> None:
    for load in LOADS:
        shown = document()["chance"][str(load)]
        times = [end - arrival for arrival, end in zip(shown["arrivals"], shown["ends"], strict=True)]
        assert shown["gave_up"] == [index for index, time in enumerate(times) if time > document()["timeout_ms"]]
        assert shown["median_ms"] == round(statistics.median(times))


def test_requests_are_the_ones_that_the_server_would_draw() -> None:
    for load in LOADS:
        shown, schedule = document()["chance"][str(load)], make_schedule(plan_at(load))
        assert shown["arrivals"] == [round(1000 * due) for due in schedule.due]
        for start, end, service in zip(shown["starts"], shown["ends"], schedule.services, strict=True):
            assert end - start == round(1000 * service)


def test_workers_take_requests_in_their_order_one_at_a_time_and_never_rest_while_one_waits() -> None:
    for _, _, shown in trajectories():
        assert shown["starts"] == sorted(shown["starts"])
        busy: list[list[tuple[int, int]]] = [[] for _ in range(WORKERS)]
        for start, end, worker in zip(shown["starts"], shown["ends"], shown["workers"], strict=True):
            busy[worker].append((start, end))
        for spans in busy:
            assert all(after >= end for (_, end), (after, _) in pairwise(spans))
        for arrival, start in zip(shown["arrivals"], shown["starts"], strict=True):
            if start > arrival:
                assert all(any(begun <= arrival <= end for begun, end in spans) for spans in busy)


def test_at_a_fixed_rate_nobody_waits_up_to_full_load() -> None:
    for step, load, shown in trajectories():
        if step != "fixed":
            continue
        waits = [start - due for start, due in zip(shown["starts"], shown["arrivals"], strict=True)]
        assert (max(waits) > 100) == (load > 100)
        assert shown["gave_up"] == []
    assert document()["one"]["ends"] == [100]


def test_callbacks_fail_while_the_receiver_is_down_and_are_all_delivered() -> None:
    down_from, down_until = RECEIVER_DOWN_MS
    for _, _, shown in trajectories():
        for index, end in enumerate(shown["ends"]):
            attempts = shown["callbacks"].get(str(index), [end])
            assert attempts[0] == end
            assert all(down_from <= moment < down_until for moment in attempts[:-1])
            assert not down_from <= attempts[-1] < down_until
            waits = [after - before for before, after in pairwise(attempts)]
            assert waits == [1000 * wait for wait in WAITS_S[: len(waits)]]
    assert any(len(attempts) > 2 for attempts in document()["chance"]["95"]["callbacks"].values())


def simulated_share(load: int) -> float:
    """The share of clients that give up, over runs with arrivals of their own."""
    plan = plan_at(load)
    setting = Setting(
        rate=plan.rate, service=plan.service, workers=WORKERS, timeout=TIMEOUT_S, duration_s=float(DURATION_S)
    )
    runs = [count_timeouts(setting, Random(f"{load}/{number}")) for number in range(RUNS)]
    return sum(left for left, _ in runs) / sum(came for _, came in runs)


def test_the_knee_is_where_theory_and_simulation_have_it() -> None:
    knee = document()["knee"]
    assert expected_share(knee) <= KNEE_SHARE < expected_share(knee + 1)
    assert simulated_share(knee - 8) < KNEE_SHARE < simulated_share(knee + 8)


def test_the_curve_rises_and_simulated_runs_lie_around_it() -> None:
    curve = {point["load"]: point for point in document()["curve"]}
    assert [point["share"] for point in curve.values()] == sorted(point["share"] for point in curve.values())
    for load in (75, 95, 110):
        assert curve[load]["share"] == pytest.approx(simulated_share(load), abs=0.05)
        assert curve[load]["low"] < curve[load]["share"] < curve[load]["high"]


def test_the_shown_run_is_no_outlier_at_half_time_nor_at_its_end() -> None:
    curve = {point["load"]: point for point in document()["curve"]}
    for load in LOADS:
        shown, plan = document()["chance"][str(load)], plan_at(load)
        share = len(shown["gave_up"]) / len(shown["arrivals"])
        assert share == pytest.approx(curve[load]["share"], abs=0.07)
        early = [index for index, arrival in enumerate(shown["arrivals"]) if arrival < 1000 * DURATION_S / 2]
        expected = run_from_empty(plan.rate, plan.service.mean_s, WORKERS, DURATION_S / 2).p_timeout(TIMEOUT_S)
        assert len(set(shown["gave_up"]) & set(early)) / len(early) == pytest.approx(expected, abs=0.05)
