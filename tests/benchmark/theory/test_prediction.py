"""What is said before a run: the theory that fits, bands that hold, and a sentence."""

import json
import math
import re
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.theory.erlang import mmc
from reportsim.benchmark.theory.load_sweep import Setting, count_timeouts, point, spread_values, sweep
from reportsim.benchmark.theory.prediction import SIMULATION, choose, predict
from reportsim.benchmark.theory.queue_models import Patience, Queue, answer, simulated
from reportsim.benchmark.theory.replications import CUSTOMERS, band, bands, how_many, replicate
from reportsim.benchmark.workload import Arrivals
from reportsim.core.model import Mode
from reportsim.core.service_time import ServiceTime
from tests.benchmark.runs import EXPONENTIAL, overload

SECOND = {"distribution": "exponential", "mean_ms": 1000}
LOGNORMAL = {"distribution": "lognormal", "median_ms": 900, "sigma": 0.5, "max_ms": 60_000}


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({"blocks": 2}, "M/M/c from empty (uniformisation)"),
        ({"duration_s": 600, "blocks": 2}, "M/M/c"),
        ({"rate": 12}, "M/M/c from empty (uniformisation)"),
        ({"rate": 2_000, "duration_s": 100, "service_time": {"distribution": "exponential", "mean_ms": 8}}, "fluid"),
        ({"cancel": Cancel.QUEUED}, SIMULATION),
        ({"rate": 5, "blocks": 2, "cancel": Cancel.QUEUED, "client_timeout_s": 2}, "M/M/c+D (fixed patience)"),
        ({"cancel": Cancel.RUNNING}, SIMULATION),
        ({"cancel": Cancel.RUNNING, "client_timeout_s": None}, "M/M/c from empty (uniformisation)"),
        ({"duration_s": 600, "blocks": 2, "service_time": LOGNORMAL}, "M/LogN/c (Allen–Cunneen)"),
        ({"duration_s": 600, "blocks": 2, "arrivals": Arrivals.CONSTANT}, "D/M/c (Allen–Cunneen)"),
        ({"service_time": LOGNORMAL, "rate": 12}, SIMULATION),
        ({"arrivals": Arrivals.BURST}, SIMULATION),
        ({"arrivals": Arrivals.RAMP}, SIMULATION),
        ({"service_time": None}, SIMULATION),
    ],
)
def test_the_model_fits_the_plan(changes: dict[str, Any], model: str) -> None:
    theory = choose(Plan(**changes), Mode.SYNC)
    assert (SIMULATION if theory is None else theory.model) == model


def test_a_prediction_is_plain_json_and_always_the_same() -> None:
    plan = Plan(rate=4.8, workers=8, service_time=EXPONENTIAL)
    first = predict(plan, 10)
    assert json.loads(json.dumps(first, allow_nan=False)) == first == predict(plan, 10)
    assert first["replications"] == 10
    assert set(first["sync"]["mean_wait_ms"]) == {"value", "low", "high"}
    assert {"p50", "p95", "p99"} <= set(first["async"]["time_to_result_ms"])


def test_the_demo_at_120_percent_comes_out_as_simulated_by_others() -> None:
    # Eight workers, two seconds each, a time-out of 8 s, a minute from empty: measured elsewhere with 600 replications.
    expected = {Cancel.NONE: (0.46, 0.59), Cancel.QUEUED: (0.38, 0.54), Cancel.RUNNING: (0.13, 0.25)}
    for cancel, (timeouts, wasted) in expected.items():
        plan = Plan(rate=4.8, workers=8, service_time=EXPONENTIAL, duration_s=120, blocks=2, cancel=cancel)
        found = bands(plan, 200)
        assert found[Mode.SYNC]["timeout_share"].value == pytest.approx(timeouts, abs=0.04)
        assert found[Mode.SYNC]["wasted_share"].value == pytest.approx(wasted, abs=0.05)
        assert found[Mode.ASYNC]["timeout_share"].high == 0
        assert found[Mode.ASYNC]["drain_s"].value == pytest.approx(18, abs=4)


def test_the_transient_chain_lies_in_the_middle_of_the_simulated_band() -> None:
    plan = Plan(rate=4.8, workers=8, service_time=EXPONENTIAL, duration_s=120, blocks=2)
    theory, found = choose(plan, Mode.SYNC), bands(plan, 200)[Mode.SYNC]
    assert theory is not None
    assert theory.mean_wait is not None
    assert theory.p_timeout(8.0) == pytest.approx(found["timeout_share"].value, abs=0.04)
    assert 1000 * theory.mean_wait == pytest.approx(found["mean_wait_ms"].value, rel=0.1)


def test_who_is_dropped_from_the_queue_has_timed_out_in_theory_too() -> None:
    service = {"distribution": "exponential", "mean_ms": 100}
    plan = Plan(
        rate=48, duration_s=120, blocks=2, workers=4, service_time=service, client_timeout_s=0.5, cancel=Cancel.QUEUED
    )
    side = predict(plan, 10)["sync"]
    assert side["theory"]["model"] == "M/M/c+D (fixed patience)"
    assert side["theory"]["p_timeout"] == pytest.approx(side["timeout_share"]["value"], abs=0.03)


def test_nineteen_of_twenty_runs_lie_in_the_band() -> None:
    plan = Plan(rate=9, duration_s=40)
    found = bands(plan, 200)[Mode.SYNC]["mean_wait_ms"]
    others = [replicate(Plan(rate=9, duration_s=40, seed=seed), 0)[Mode.SYNC].mean_wait_ms for seed in range(2, 202)]
    inside = sum(value in found for value in others)
    # 190 are expected; fewer than 178 come with a probability of one in some thousands.
    assert 178 <= inside <= 200


@pytest.mark.parametrize("count", [10, 60, 1_000])
def test_a_band_holds_what_is_drawn_like_it(count: int) -> None:
    source = Random(count)
    found = band([100 + source.gauss(0, 10) for _ in range(count)])
    assert found.value == pytest.approx(100, abs=10)
    # Two standard deviations either side, more where few say how large one is.
    assert 20 < found.high - found.low < 90
    assert found.low < 100 < found.high


def test_without_chance_a_band_has_no_width() -> None:
    assert band([3.0] * 10).as_json() == {"value": 3, "low": 3, "high": 3}


def test_long_runs_are_replicated_less_often() -> None:
    assert [how_many(count) for count in (2, 600, 20_000, 200_000)] == [500, 500, CUSTOMERS // 20_000, 10]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"rate": 4.8, "workers": 8, "service_time": EXPONENTIAL, "duration_s": 120, "blocks": 2},
            r"About (?:4|5)\d % of sync .*, \d\d to \d\d %",
        ),
        ({"client_timeout_s": None}, "No sync client will time out, since none has a time-out"),
        (
            {"rate": 1, "client_timeout_s": 60, "slo_s": 60},
            "No sync client will time out; async will lose none, and none will come later than 60 s.",
        ),
        ({"service_time": None, "rate": 500}, "No service time is planned: what the reports take themselves is known"),
        (
            {"service_time": {"distribution": "fixed", "mean_ms": 900}, "client_timeout_s": 0.5, "slo_s": 0.5},
            "Every sync client will time out; async will lose none, and all of its results will come later than 500 ms",
        ),
    ],
)
def test_the_sentence_says_what_will_happen(changes: dict[str, Any], said: str) -> None:
    plan = Plan(**changes)
    assert re.match(said, predict(plan, 100)["sentence"])


def test_the_prediction_of_the_same_pattern_twice_says_nothing_of_the_other_one() -> None:
    plan = Plan(rate=4.8, workers=8, service_time=EXPONENTIAL, duration_s=120, blocks=2, cancel=Cancel.QUEUED)
    sync, other = (predict(replace(plan, both=mode), 100) for mode in (Mode.SYNC, Mode.ASYNC))
    assert re.fullmatch(r"About [\d.]+ % of sync clients will time out, [^;]*\.", sync["sentence"])
    assert re.fullmatch(r"Async will lose none, and about [\d.]+ % of its results will come.*\.", other["sentence"])
    for found in (sync, other):
        theory = found["a"]["theory"]
        assert found["model"] == (theory["model"] if theory else SIMULATION)
    assert sync["model"] != other["model"]


def queue(**changes: Any) -> Queue:
    return Queue(**{"rate": 9.0, "service": ServiceTime(SECOND), "workers": 10, **changes})


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({}, "M/M/c"),
        ({"rate": 12.0}, "M/M/c, no steady state"),
        ({"capacity": 12}, "M/M/c/K"),
        ({"patience_s": 3.0}, "M/M/c+M (Erlang A)"),
        ({"patience_s": 3.0, "capacity": 12}, "M/M/c/K+M (Erlang A)"),
        ({"patience_s": 3.0, "patience": Patience.FIXED}, "M/M/c+D (fixed patience)"),
        ({"patience_s": 3.0, "patience": Patience.FIXED, "capacity": 14}, "M/M/c, event simulation of steady state"),
        ({"duration_s": 60.0}, "M/M/c from empty (uniformisation)"),
        ({"duration_s": 60.0, "capacity": 12}, "M/M/c, event simulation of runs from empty"),
        ({"service": ServiceTime(LOGNORMAL)}, "M/LogN/c (Allen–Cunneen)"),
        ({"service": ServiceTime(LOGNORMAL), "rate": 20.0}, "M/LogN/c (Allen–Cunneen), no steady state"),
    ],
)
def test_every_question_has_its_model(changes: dict[str, Any], model: str) -> None:
    theory = answer(queue(**changes))
    assert theory.model == model
    assert theory.rho > 0


@pytest.mark.slow
def test_simulated_answers_are_those_of_theory() -> None:
    for changes in ({}, {"capacity": 13}, {"patience_s": 2.0}, {"patience_s": 2.0, "patience": Patience.FIXED}):
        exact, found = answer(queue(**changes)), simulated(queue(**changes))
        for name in ("p_wait", "mean_wait", "mean_sojourn", "mean_in_system", "p_block", "p_abandon"):
            value, other = getattr(exact, name), getattr(found, name)
            assert (value is None) is (other is None), name
            if value is not None:
                assert other == pytest.approx(value, rel=0.08, abs=0.005), (changes, name)
        for share in (0.5, 0.95, 0.99):
            assert found.percentile(share) == pytest.approx(exact.percentile(share), rel=0.05)


def test_simulated_runs_from_empty_are_the_chain() -> None:
    exact, found = answer(queue(rate=12.0, duration_s=30.0)), simulated(queue(rate=12.0, duration_s=30.0))
    assert found.mean_wait == pytest.approx(exact.mean_wait, rel=0.03)
    assert found.mean_in_system == pytest.approx(exact.mean_in_system, rel=0.03)
    assert found.p_timeout(4.0) == pytest.approx(exact.p_timeout(4.0), abs=0.02)


def setting(**changes: Any) -> Setting:
    return Setting(**{"rate": 8.0, "service": ServiceTime(SECOND), "workers": 10, "timeout": 8.0, **changes})


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_runs_that_nobody_comes_to_say_nothing_of_time_outs(rate: float) -> None:
    """Every client must time out: its own service takes longer than it waits."""
    fixed = {"distribution": "fixed", "mean_ms": 10_000}
    found = point(setting(rate=rate, service=ServiceTime(fixed), duration_s=5.0), "timeout", 8.0)
    assert (found.timeout_share, found.spread.low, found.spread.high) == (1, 1, 1)
    predicted = predict(Plan(rate=rate, duration_s=5, service_time=fixed, client_timeout_s=8, slo_s=8), 100)
    assert predicted["sentence"].startswith("Every sync client will time out")
    assert predicted["sync"]["time_to_result_ms"]["p50"] == {"value": 8_000, "low": 8_000, "high": 8_000}


def test_a_share_of_time_outs_is_of_all_clients_and_not_of_runs() -> None:
    second = ServiceTime({"distribution": "fixed", "mean_ms": 1000})
    there = setting(rate=2.0, service=second, workers=1, duration_s=5.0, timeout=2.0)
    runs = [count_timeouts(there, Random(f"{there.seed}/sweep/{number}")) for number in range(500)]
    of_clients = sum(left for left, _ in runs) / sum(came for _, came in runs)
    of_runs = sum(left / came for left, came in runs if came) / len(runs)
    assert of_clients > of_runs + 0.05
    assert point(there, "timeout", 2.0).timeout_share == pytest.approx(of_clients, abs=0.02)


@pytest.mark.slow
def test_a_sweep_finds_where_time_outs_begin() -> None:
    found = sweep(setting(), "rate", spread_values("rate", 5, 20, None), 0.01, refine=True)
    assert found.break_even is not None
    assert found.break_even == pytest.approx(10.1, abs=0.5)
    values = [each.value for each in found.points]
    assert values == sorted(values)
    for each in found.points:
        assert (each.timeout_share > 0.01) is (each.value >= found.break_even)
        assert 0 <= each.spread.low <= each.spread.high <= 1
        steady = mmc(each.value, 1, 10).p_timeout(8) if each.value < 10 else None
        assert each.steady_share == steady


@pytest.mark.slow
def test_cancelling_and_shorter_runs_move_the_break_even_up() -> None:
    values = spread_values("rate", 10, 20, 1)
    evens = [
        sweep(changed, "rate", values, 0.05, refine=False).break_even
        for changed in (setting(), setting(cancel=Cancel.RUNNING), setting(duration_s=10.0))
    ]
    assert None not in evens
    assert evens[0] is not None
    assert all(even is not None and even > evens[0] for even in evens[1:])


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "low", "high"), [("timeout", 0.5, 30.0), ("workers", 5.0, 40.0)])
def test_more_patience_or_more_workers_are_found_from_below(variable: str, low: float, high: float) -> None:
    found = sweep(setting(rate=11.0), variable, spread_values(variable, low, high, None), 0.05, refine=True)
    assert found.break_even is not None
    for each in found.points:
        assert (each.timeout_share <= 0.05) is (each.value >= found.break_even)
    if variable == "workers":
        assert all(each.value == int(each.value) for each in found.points)


def test_where_there_is_no_break_even_there_is_none() -> None:
    assert sweep(setting(), "rate", [1.0, 2.0], 0.01, refine=True).break_even is None
    assert sweep(setting(), "rate", [20.0, 30.0], 0.01, refine=True).break_even == 20.0


def test_an_overload_run_is_predicted_and_replayed() -> None:
    run = overload()
    theory = run.conclude()["theory"]
    for side in theory.values():
        for name, row in side.items():
            assert row["replayed"] == pytest.approx(row["measured"], rel=0.01, abs=0.002 if "share" in name else 0.1)
            assert row["expected"]["low"] <= row["expected"]["high"]
    assert math.isfinite(theory["sync"]["mean_wait_ms"]["measured"])
