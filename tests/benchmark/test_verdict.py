"""Comparison, objectives, checks and the sentence: what is so is said, and what cannot be trusted says so."""

import math
import statistics
from array import array
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.plan import Arrivals, Cancel, Plan
from reportsim.benchmark.results.objectives import Objective, judge, objectives
from reportsim.benchmark.results.paired_comparison import FEWEST, bootstrap_mean, faster, median_interval, paired
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.core.model import Mode
from tests.benchmark.runs import IDLE, Run, example, overload, rehearsed

IDS = [f"H{number}" for number in range(1, 15)]
TIMES = st.lists(st.one_of(st.floats(0, 100), st.just(math.inf)), min_size=1, max_size=50)


def verdicts(result: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["verdict"] for check in result["checks"]}


def calm(**changes: Any) -> Run:
    """A run far from any limit."""
    service = {"distribution": "exponential", "mean_ms": 200}
    return rehearsed(
        Plan(**{"rate": 10, "duration_s": 40, "workers": 8, "service_time": service, "seed": 3, **changes})
    )


@given(TIMES, TIMES)
def test_pairs_are_counted_one_by_one(first: list[float], second: list[float]) -> None:
    count = min(len(first), len(second))
    sync, other = array("d", first[:count]), array("d", second[:count])
    won = faster(sync, other)
    assert sum(won.values()) == count
    both = sum(a < math.inf and b < math.inf for a, b in zip(sync, other, strict=True))
    assert len(paired(sync, other)) == both
    mirrored = faster(other, sync)
    assert (won["sync"], won["tie"], won["async"]) == (mirrored["async"], mirrored["tie"], mirrored["sync"])


@given(st.lists(st.floats(-100, 100), min_size=FEWEST, max_size=80), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_bootstrap_intervals_hold_their_mean_and_are_seeded(values: list[float], seed: int) -> None:
    found = bootstrap_mean(values, seed)
    assert found == bootstrap_mean(values, seed)
    assert found.low is not None
    assert found.high is not None
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found.value == statistics.fmean(values)


def test_bootstrap_intervals_cover_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(200):
        source = Random(seed)
        found = bootstrap_mean([source.gauss(5, 2) for _ in range(100)], seed)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 5 <= found.high
    assert 178 <= covered <= 200


def test_stretches_that_hang_together_make_wider_intervals() -> None:
    source = Random(1)
    stretches = [value for value in (source.gauss(0, 1) for _ in range(100)) for _ in range(10)]
    shuffled = Random(2).sample(stretches, len(stretches))
    together, apart = bootstrap_mean(stretches, 1), bootstrap_mean(shuffled, 1)
    assert together.high is not None
    assert together.low is not None
    assert apart.high is not None
    assert apart.low is not None
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_too_few_pairs_have_no_interval() -> None:
    assert bootstrap_mean([], 1).value is None
    assert bootstrap_mean([2.0], 1).low is None
    assert (bootstrap_mean([2.0, 4.0], 1).value, bootstrap_mean([2.0, 4.0], 1).low) == (3.0, None)
    assert median_interval([1.0, 2.0, 3.0]).low is None
    assert median_interval([float(value) for value in range(101)]).value == 50


def test_equal_times_are_no_difference_and_that_is_said() -> None:
    run, result = example()
    assert result["comparison"]["difference_ms"]["mean"]["value"] == pytest.approx(0, abs=1e-6)
    assert result["verdict"].startswith("No difference in time to result")
    assert "of sync clients gave up after 8 s" in result["verdict"]
    assert "async lost nothing" in result["verdict"]
    assert "came later than 8 s" in result["verdict"]
    assert result["comparison"]["faster"]["sync"] == 0
    assert result["comparison"]["only_async"] == result["sync"]["outcomes"]["client_timeout"]
    assert run.plan.count == sum(result["comparison"]["faster"].values())


def test_a_slower_callback_is_said_with_its_size() -> None:
    run = calm()
    samples = run.samples[Mode.ASYNC]
    samples.result = array("d", (moment + 0.05 for moment in samples.result))
    result = run.conclude()
    mean = result["comparison"]["difference_ms"]["mean"]
    assert mean["low"] == pytest.approx(50, abs=0.01)
    assert "Results came 50 ms later by async in the mean" in result["verdict"]
    assert result["comparison"]["faster"] == {"sync": 400, "tie": 0, "async": 0}


def test_a_sync_server_that_drops_work_is_said_to_be_faster_for_that() -> None:
    result = overload(cancel=Cancel.RUNNING, duration_s=120.0).conclude()
    assert "later by async" in result["verdict"]
    assert "dropped work for clients that left" in result["verdict"]


def test_nothing_is_a_share_of_a_median_that_is_only_a_bound() -> None:
    run = overload(rate=7.0)
    samples = run.samples[Mode.ASYNC]
    samples.result = array("d", (moment + 0.05 for moment in samples.result))
    result = run.conclude()
    assert result["sync"]["time_to_result_ms"]["p50"]["censored"]
    assert "Results came 50 ms later by async" in result["verdict"]
    assert "of the median sync time" not in result["verdict"]


def test_a_handful_of_pairs_decides_nothing() -> None:
    run = calm(rate=1, duration_s=8)
    samples = run.samples[Mode.ASYNC]
    samples.result = array("d", (moment + 0.05 for moment in samples.result))
    result = run.conclude()
    assert result["comparison"]["difference_ms"]["mean"]["value"] == pytest.approx(50, abs=0.01)
    assert result["verdict"].startswith("Too few requests had their result on both sides")


@pytest.mark.parametrize(
    ("mode", "outcome", "said"),
    [
        (Mode.SYNC, Outcome.SHED, "No sync client gave up, but 5 % got an error; async lost nothing."),
        (Mode.ASYNC, Outcome.HTTP_5XX, "No sync client gave up; async answered 5 % of its requests with an error."),
        (Mode.ASYNC, Outcome.JOB_FAILED, "async answered 5 % of its requests with an error."),
    ],
)
def test_errors_are_no_results_and_that_is_said(mode: Mode, outcome: Outcome, said: str) -> None:
    run = calm()
    for index in range(20):
        run.samples[mode].outcomes[index], run.samples[mode].result[index] = outcome, math.nan
    result = run.conclude()
    assert said in result["verdict"]
    missed = [row["metric"] for row in result["slo"][mode]["objectives"] if not row["pass"]]
    assert f"outcomes.{outcome.label}" in missed


def test_ratios_stop_where_values_are_only_bounds() -> None:
    _, result = example()
    table = result["comparison"]["time_to_result_ms"]
    assert table["p50"]["ratio"] == pytest.approx(1, abs=0.01)
    assert table["max"] == {
        "sync": 8000,
        "async": result["async"]["time_to_result_ms"]["max"]["value"],
        "difference": None,
        "ratio": None,
    }
    assert table["p99"]["sync"] is None


def test_objectives_are_judged_by_value_and_never_by_a_bound() -> None:
    _, result = example()
    assert not result["slo"]["sync"]["pass"]
    p95 = result["slo"]["sync"]["objectives"][0]
    assert (p95["metric"], p95["measured"], p95["pass"]) == ("time_to_result_ms.p95", None, False)
    other = result["async"]
    assert Objective("outcomes.callback_lost", "<=", 0).verdict(other)["pass"]
    assert Objective("goodput", ">", 1.0).verdict(other)["pass"]
    assert not Objective("goodput", ">", 100.0).verdict(other)["pass"]
    assert not Objective("no.such.number", "<=", 1.0).verdict(other)["pass"]
    calm_result = calm().conclude()
    assert judge(calm_result["async"], objectives(Plan()))["pass"]


def test_a_calm_run_passes_every_check() -> None:
    result = calm().conclude()
    assert list(verdicts(result)) == IDS
    assert set(verdicts(result).values()) == {"ok"}, result["checks"]
    assert result["trusted"]
    assert all(check["detail"].endswith(".") and check["name"] for check in result["checks"])


def test_a_short_overload_warns_where_it_should() -> None:
    run, result = example()
    found = verdicts(result)
    assert found["H11"] == "warn"
    assert "Overload" in result["checks"][10]["detail"]
    assert run.plan.count == 288
    assert "p99, p99.9" in result["checks"][9]["detail"]
    assert result["trusted"]


@pytest.mark.parametrize(
    ("id", "conditions"),
    [
        ("H6", {"generator_cpu_share": 0.7}),
        ("H6", {"generator_loop_lag_p99_ms": 9.0}),
        ("H7", {"pool_waits": 1}),
        ("H8", {"gc_pause_sum_ms": 5_000.0, "gc_pause_max_ms": 40.0}),
        ("H13", {"freeze_error_ms": 200.0}),
    ],
)
def test_conditions_that_falsify_fail(id: str, conditions: dict[str, Any]) -> None:
    result = calm().conclude(replace(IDLE, **conditions))
    assert [name for name, verdict in verdicts(result).items() if verdict == "fail"] == [id]
    assert not result["trusted"]
    assert result["verdict"].startswith(f"Do not trust this run: {id} (")


@pytest.mark.parametrize(
    ("id", "conditions"),
    [
        ("H6", {"server_loop_lag_p99_ms": 30.0}),
        ("H6", {"server_loop_lag_p99_ms": None}),
        ("H8", {"gc_pause_sum_ms": 12.0, "gc_pause_max_ms": 12.0}),
    ],
)
def test_conditions_that_cloud_warn(id: str, conditions: dict[str, Any]) -> None:
    result = calm().conclude(replace(IDLE, **conditions))
    assert [name for name, verdict in verdicts(result).items() if verdict == "warn"] == [id]
    assert result["trusted"]


def test_nothing_measured_is_no_good_sign() -> None:
    assert verdicts(calm().conclude(Conditions()))["H6"] == "warn"


def damaged(id: str, run: Run) -> None:
    """Does to a run what a check has to find."""
    samples = run.samples[Mode.ASYNC]
    integrals = run.integrals[Mode.ASYNC]
    match id:
        case "H1":
            samples.sent = array("d", (due + 0.02 for due in samples.intended))
        case "H2":
            samples.sent[7] = math.nan
        case "H3":
            run.integrals[Mode.ASYNC] = replace(integrals, open_s=integrals.open_s * 1.02)
        case "H4":
            run.integrals[Mode.ASYNC] = replace(integrals, busy_s=integrals.busy_s * 0.98)
        case "H5":
            run.integrals[Mode.ASYNC] = replace(integrals, accepted=integrals.accepted + 1)
        case "H9":
            samples.ended = array(
                "d", (start + 1.5 * (end - start) for start, end in zip(samples.started, samples.ended, strict=True))
            )
            spent = sum(end - start for start, end in zip(samples.started, samples.ended, strict=True))
            samples.result = array("d", (end + 0.002 for end in samples.ended))
            run.integrals[Mode.ASYNC] = replace(integrals, busy_s=spent)


@pytest.mark.parametrize("id", ["H1", "H2", "H3", "H4", "H5", "H9"])
def test_each_check_finds_what_it_is_for(id: str) -> None:
    run = calm()
    damaged(id, run)
    result = run.conclude()
    assert verdicts(result)[id] == "fail"
    assert not result["trusted"]


def test_reports_that_take_their_own_time_are_measured_and_no_reason_for_distrust() -> None:
    run = calm(service_time=None)
    for mode, took in ((Mode.SYNC, 0.002), (Mode.ASYNC, 0.003)):
        samples = run.samples[mode]
        samples.ended = array("d", (start + took for start in samples.started))
        samples.result = array("d", (end + 0.002 for end in samples.ended))
        run.integrals[mode] = replace(run.integrals[mode], busy_s=took * len(samples))
    result = run.conclude()
    found = result["checks"][8]
    assert (found["verdict"], found["value"]["from_plan"]) == ("warn", None)
    assert found["value"]["between_sides"] == pytest.approx(0.4)
    assert "took their own" in found["detail"]
    assert result["checks"][11]["detail"] == "Nothing was expected: no service time was planned."
    assert result["trusted"]


def test_checks_do_not_compare_what_is_not_there() -> None:
    few = {check["id"]: check for check in calm(rate=1, duration_s=2).conclude()["checks"]}
    assert "Too few" in few["H11"]["detail"]
    assert few["H14"]["value"]["sync"] is None
    assert few["H14"]["detail"].startswith("The median difference of the sides is ")
    service = {"distribution": "fixed", "mean_ms": 300}
    late = calm(service_time=service, client_timeout_s=0.1, slo_s=0.1).conclude()
    assert late["sync"]["outcomes"]["client_timeout"] == late["sync"]["offered"]
    none = {check["id"]: check for check in late["checks"]}
    assert none["H9"]["value"] == {"between_sides": None, "from_plan": None}
    assert none["H9"]["detail"] == "No request had its result on both sides."
    assert none["H11"]["value"]["sync"] == [100.0, 100.0]
    assert none["H14"]["value"]["sync"] is None
    assert none["H14"]["detail"].startswith("From block to block the median moved by async ")


def test_segments_that_run_backwards_are_found() -> None:
    run = calm()
    run.samples[Mode.SYNC].queued[3] = run.samples[Mode.SYNC].started[3] + 0.01
    check = run.conclude()["checks"][4]
    assert (check["value"]["segments"], check["verdict"]) == (1, "fail")


def test_arrivals_that_are_not_poisson_are_found() -> None:
    run = calm()
    even = rehearsed(replace(run.plan, arrivals=Arrivals.CONSTANT))
    run.schedule, run.samples, run.integrals = even.schedule, even.samples, even.integrals
    assert verdicts(run.conclude())["H2"] == "warn"


def frozen(samples: Samples, start: float, length: float) -> Samples:
    """The first block of a run whose server stands still: what would happen meanwhile happens at its end."""
    for name in ("queued", "started", "ended", "result", "accepted"):
        column = getattr(samples, name)
        for index in range(samples.first_block):
            if start <= column[index] < start + length:
                column[index] = start + length
    return samples


def test_a_freeze_shows_in_the_percentiles_as_by_hand() -> None:
    plan = Plan(
        rate=50,
        duration_s=40,
        arrivals=Arrivals.CONSTANT,
        workers=8,
        service_time={"distribution": "fixed", "mean_ms": 20},
        client_timeout_s=None,
    )
    run = rehearsed(plan)
    samples = frozen(run.samples[Mode.SYNC], 10.0, 2.0)
    result = run.conclude()["sync"]
    # By hand: whatever was to end within the two seconds ends at 12; all else takes 20 ms and the edges.
    plain = 1000 * (0.0004 + 0.002 + 0.020 + 0.002)
    times = []
    for index in range(2_000):
        due = index / 50 if index < 1_000 else (index - 1_000) / 50
        stuck = index < 1_000 and 10 <= due + plain / 1000 < 12
        times.append(1000 * (12 - due) if stuck else plain)
    times.sort()
    assert len([time for time in times if time > plain + 1]) == pytest.approx(100, abs=1)
    for level, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        expected = times[math.ceil(round(share * 2_000, 9)) - 1]
        assert result["time_to_result_ms"][level]["value"] == pytest.approx(expected, abs=0.01)
    assert result["time_to_result_ms"]["p99"]["value"] > 1_500
    assert samples.outcomes.count(Outcome.OK) == 2_000


def test_lost_callbacks_are_said() -> None:
    run = calm()
    samples = run.samples[Mode.ASYNC]
    for index in range(20):
        samples.outcomes[index], samples.result[index] = Outcome.CALLBACK_LOST, math.nan
    result = run.conclude()
    assert "async lost 5 % of its callbacks" in result["verdict"]
    assert result["async"]["time_to_result_ms"]["max"]["censored"]
    assert not result["slo"]["async"]["pass"]


def test_nothing_at_all_is_a_result_too() -> None:
    run = calm()
    for mode in Mode:
        run.samples[mode] = Samples.empty(mode, run.schedule.intended, len(run.plan.halves[0]))
    result = run.conclude()
    assert result["sync"]["outcomes"]["refused"] == 400
    assert not result["trusted"]
    assert "Too few requests" in result["verdict"]
