"""Comparison, objectives and verdict: what the data show is said, with its interval, and nothing else."""

import math
import re
from array import array
from typing import Any

import pytest

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.results.objectives import Objective, judge, objectives
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.verdict import split_verdict
from reportsim.benchmark.workload import Arrivals
from reportsim.core.model import Mode
from tests.benchmark.checks.test_checks import calm, shift
from tests.benchmark.runs import Run, example, overload, rehearsed


def delay_async(run: Run, seconds: float) -> Run:
    samples = run.samples["async"]
    samples.result = shift(samples.result, seconds)
    return run


def test_equal_times_are_no_difference_and_that_is_said() -> None:
    run, result = example()
    mean = result["comparison"]["difference_ms"]["mean"]
    assert mean["low"] <= 0 <= mean["high"]
    assert "the same for practical purposes" in result["verdict"]
    assert f"{run.plan.pairs} block pairs" in result["verdict"]
    assert "timed out after 8 s" in result["verdict"]
    assert len(run.schedule) == sum(result["comparison"]["faster"].values())


def test_a_slower_callback_is_said_with_its_interval() -> None:
    result = delay_async(calm(), 0.05).conclude()
    mean = result["comparison"]["difference_ms"]["mean"]
    assert mean["value"] == pytest.approx(50, abs=0.01)
    assert result["verdict"].startswith("No sync request was lost")
    assert split_verdict(result["verdict"])[-1] == (
        "Async results arrived 50 ms later on average (95 % CI 50 ms to 50 ms, 10 block pairs)."
    )
    assert len(split_verdict(result["verdict"])) == 4
    faster = result["comparison"]["faster"]
    assert (faster["sync"], faster["tie"], faster["async"]) == (result["sync"]["offered"], 0, 0)


def test_a_difference_below_two_percent_and_five_milliseconds_is_none_in_practice() -> None:
    result = delay_async(calm(), 0.001).conclude()
    p50 = result["sync"]["time_to_result_ms"]["p50"]["value"]
    assert p50 > 50
    assert "the same for practical purposes: async − sync is +1 ms to +1 ms on average" in result["verdict"]
    assert "results arrived 6 ms later" in delay_async(calm(), 0.006).conclude()["verdict"]


def test_times_are_cut_off_at_the_time_out_of_sync_on_both_sides() -> None:
    """A request that timed out on sync and took 60 s by async differs by nothing that sync clients waited for."""
    _, result = example()
    assert result["comparison"]["limit_ms"] == 8_000
    assert result["async"]["time_to_result_ms"]["mean"]["value"] <= 8_000
    assert result["async"]["time_to_result_ms"]["max"]["value"] > 8_000


def test_too_few_blocks_have_a_difference_and_no_interval() -> None:
    result = delay_async(calm(duration_s=3.0), 0.05).conclude()
    assert result["comparison"]["difference_ms"]["mean"]["value"] == pytest.approx(50, abs=0.01)
    assert result["comparison"]["difference_ms"]["mean"]["low"] is None
    assert "with 3 block pairs there is no interval" in result["verdict"]


@pytest.mark.parametrize(
    ("mode", "outcome"), [(Mode.SYNC, Outcome.SHED), (Mode.ASYNC, Outcome.HTTP_5XX), (Mode.ASYNC, Outcome.JOB_FAILED)]
)
def test_errors_are_no_results_and_no_times(mode: Mode, outcome: Outcome) -> None:
    run = calm()
    samples = run.samples[mode]
    failing = range(0, len(samples), 20)
    for index in failing:
        samples.outcomes[index], samples.result[index] = outcome, math.nan
    result = run.conclude()
    assert f"Of {len(samples)} {mode} requests, 5.1 % ended with an error." in result["verdict"]
    assert f"o {'async' if mode is Mode.SYNC else 'sync'} request was lost" in result["verdict"]
    assert result[mode]["time_to_result_ms"]["p50"]["n"] == len(samples) - len(failing)
    assert not result[mode]["time_to_result_ms"]["max"]["censored"]
    missed = [row["metric"] for row in result["slo"][mode]["objectives"] if not row["pass"]]
    assert f"outcomes.{outcome.label}" in missed


def test_lost_callbacks_are_said() -> None:
    run = calm()
    samples = run.samples["async"]
    for index in range(20):
        samples.outcomes[index], samples.result[index] = Outcome.CALLBACK_LOST, math.nan
    result = run.conclude()
    assert f"Of {len(samples)} async requests, 4.6 % never had a callback." in result["verdict"]
    assert "No sync request was lost." in result["verdict"]
    assert result["async"]["time_to_result_ms"]["max"]["censored"]
    assert not result["slo"]["async"]["pass"]


def test_ratios_stop_where_values_are_only_bounds() -> None:
    _, result = example()
    table = result["comparison"]["time_to_result_ms"]
    assert table["p50"]["ratio"] == pytest.approx(1, abs=0.01)
    assert table["max"]["sync"] == 8_000
    assert table["max"]["difference"] is table["max"]["ratio"] is None


def test_a_sync_server_that_drops_work_is_said_to_have_had_less_of_it() -> None:
    said = "The sync server dropped the work of clients that timed out, which left room for the others."
    dropping = overload(cancel=Cancel.RUNNING, rate=8.0, duration_s=120.0)
    result = dropping.conclude()
    assert "Async results arrived" in result["verdict"]
    assert split_verdict(result["verdict"])[-1] == said
    assert said not in overload(rate=10.0).conclude()["verdict"]
    # Where async is not later, nothing is to be explained.
    assert said not in delay_async(dropping, -60.0).conclude()["verdict"]


def test_nothing_is_compared_with_a_median_that_is_only_a_bound() -> None:
    result = delay_async(overload(rate=10.0), 0.05).conclude()
    assert result["sync"]["time_to_result_ms"]["p50"]["censored"]
    assert not result["async"]["time_to_result_ms"]["p50"]["censored"]
    p50 = result["comparison"]["time_to_result_ms"]["p50"]
    assert p50["sync"] == 8_000
    assert p50["async"] > 8_000
    assert p50["difference"] is p50["ratio"] is None
    # What is said is a difference in time, and no share of anything.
    assert re.fullmatch(
        r"Async results arrived [\d.]+ ms later on average \(95 % CI [\d.]+ ms to [\d.]+ ms, 10 block pairs\)\.",
        split_verdict(result["verdict"])[-1],
    )


def test_objectives_are_judged_by_value_and_never_by_a_bound() -> None:
    result = overload(rate=7.0).conclude()
    assert not result["slo"]["sync"]["pass"]
    p95 = result["slo"]["sync"]["objectives"][0]
    assert (p95["metric"], p95["measured"], p95["pass"]) == ("time_to_result_ms.p95", None, False)
    other = result["async"]
    assert Objective("outcomes.callback_lost", "<=", 0).verdict(other)["pass"]
    assert Objective("goodput", ">", 1.0).verdict(other)["pass"]
    assert not Objective("goodput", ">", 100.0).verdict(other)["pass"]
    assert not Objective("no.such.number", "<=", 1.0).verdict(other)["pass"]
    assert judge(calm().conclude()["async"], objectives(Plan()))["pass"]


def test_the_sides_of_an_a_a_run_are_a_and_b() -> None:
    service: dict[str, Any] = {"distribution": "exponential", "mean_ms": 200}
    result = rehearsed(Plan(rate=10, duration_s=40, workers=8, service_time=service, both=Mode.SYNC)).conclude()
    assert {"a", "b", "comparison"} <= set(result)
    assert "sync" not in result
    assert "the same for practical purposes: b − a is" in result["verdict"]
    assert set(result["comparison"]["faster"]) == {"a", "tie", "b"}


def frozen(run: Run, start: float, length: float) -> None:
    """The first block of a run whose server stands still: what would happen meanwhile happens at its end."""
    samples = run.samples["sync"]
    for name in ("queued", "started", "ended", "result", "accepted"):
        column = samples.column(name)
        for index in samples.blocks[0]:
            if start <= column[index] < start + length:
                column[index] = start + length


def test_a_freeze_shows_in_the_percentiles_as_by_hand() -> None:
    service = {"distribution": "fixed", "mean_ms": 20}
    run = rehearsed(
        Plan(
            rate=50,
            duration_s=80,
            blocks=4,
            arrivals=Arrivals.CONSTANT,
            workers=8,
            service_time=service,
            client_timeout_s=None,
        )
    )
    frozen(run, 10.0, 2.0)
    result = run.conclude()["sync"]
    # By hand: whatever was to end within the two seconds ends at 12; all else takes 20 ms and the edges.
    plain = 1000 * (0.0004 + 0.002 + 0.020 + 0.002)
    times = []
    for index in range(4_000):
        due = index % 1_000 / 50
        stuck = index < 1_000 and 10 <= due + plain / 1000 < 12
        times.append(1000 * (12 - due) if stuck else plain)
    times.sort()
    for level, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        expected = times[math.ceil(round(share * 4_000, 9)) - 1]
        assert result["time_to_result_ms"][level]["value"] == pytest.approx(expected, abs=0.01)
    assert result["time_to_result_ms"]["p99"]["value"] > 1_000


def test_nothing_is_said_of_what_did_not_happen() -> None:
    verdict = overload(rate=0.5).conclude()["verdict"]
    assert "timed out" not in verdict
    assert "No sync request was lost. No async request was lost." in verdict


def test_no_times_at_all_cannot_be_compared() -> None:
    run = calm()
    for samples in run.samples.values():
        samples.outcomes = array("b", [Outcome.SHED]) * len(samples)
    assert "cannot be compared" in run.conclude()["verdict"]


def time_out_once_in_each(run: Run, blocks: int) -> Run:
    sync = run.samples[Mode.SYNC]
    for block in sync.blocks[:blocks]:
        sync.outcomes[block.start], sync.result[block.start] = Outcome.CLIENT_TIMEOUT, math.nan
    return run


def test_an_interval_from_few_to_many_is_not_quoted_and_the_needed_length_is_said() -> None:
    run = time_out_once_in_each(calm(), 2)
    result = run.conclude()
    share, verdict = result["sync"]["shares"]["client_timeout"], result["verdict"]
    assert share["low"] == 0
    assert share["high"] > 0.5
    assert split_verdict(verdict)[0].endswith("sync requests, 0.5 % timed out after 8 s.")
    assert "too short to say what share is lost or late in general: 10 blocks of 4 s are too few;" in verdict
    assert "about 30 such blocks are needed, which is 120 s of load per side." in verdict


def test_where_no_number_of_such_blocks_would_do_longer_ones_are_asked_for() -> None:
    result = time_out_once_in_each(calm(), 4).conclude()
    assert "10 blocks of 4 s are too few; longer blocks are needed." in result["verdict"]


def test_an_interval_that_says_something_is_quoted() -> None:
    result = time_out_once_in_each(calm(), 10).conclude()
    assert re.search(r"sync requests, 2.3 % \(95 % CI [\d.]+ % to [\d.]+ %\) timed out", result["verdict"])
    assert "too short" not in result["verdict"]
