"""Each check fails, or warns, where what it is for has happened, and is quiet on correct runs."""

import math
import re
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.samples import Outcome, Samples
from reportsim.benchmark.workload import Arrivals
from tests.benchmark.runs import EXPONENTIAL, IDLE, Run, example, rehearsed

IDS = ["H1", "H2", "H3", "H4", "H5", "H6", "H8", "H9", "H10", "H11", "H12", "H14", "H15"]


def verdicts(result: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["verdict"] for check in result["checks"]}


def detail_of(result: dict[str, Any], id: str) -> str:
    return next(str(check["detail"]) for check in result["checks"] if check["id"] == id)


def calm(**changes: Any) -> Run:
    """A run far from any limit."""
    service = {"distribution": "exponential", "mean_ms": 200}
    return rehearsed(
        Plan(**{"rate": 10, "duration_s": 40, "workers": 8, "service_time": service, "seed": 3, **changes})
    )


def test_a_calm_run_passes_every_check() -> None:
    result = calm().conclude()
    assert list(verdicts(result)) == IDS
    # Forty seconds are too short for an upper bound of p99.
    assert verdicts(result) == {**dict.fromkeys(IDS, "ok"), "H10": "info"}, result["checks"]
    assert result["trusted"]
    assert all(check["detail"].endswith(".") and check["name"] for check in result["checks"])


def shift(column: "array[float]", by: float) -> "array[float]":
    return array("d", (moment + by for moment in column))


def send_late(run: Run) -> None:
    run.samples["async"].sent = shift(run.samples["async"].due, 0.02)


def send_one_late(run: Run) -> None:
    """A single stall that p99 does not show, but the maximum that is printed does."""
    run.samples["sync"].sent[7] = run.samples["sync"].due[7] + 0.4


def send_not(run: Run) -> None:
    run.samples["async"].sent[7] = math.nan


def lose_connections(run: Run) -> None:
    """The service misses a twentieth of the time that sync clients were connected."""
    run.integrals["sync"] = replace(run.integrals["sync"], open_s=run.integrals["sync"].open_s * 0.95)


def miscount_connections_of_clients(run: Run) -> None:
    """The clients' clock is wrong: the service's own integral and its own sum would still agree."""
    samples = run.samples["sync"]
    samples.accepted = array(
        "d", (due + 1.3 * (moment - due) for due, moment in zip(samples.due, samples.accepted, strict=True))
    )


def work_less(run: Run) -> None:
    run.integrals["async"] = replace(run.integrals["async"], busy_s=run.integrals["async"].busy_s * 0.9)


def take_on_more(run: Run) -> None:
    run.integrals["async"] = replace(run.integrals["async"], accepted=run.integrals["async"].accepted + 1)


def run_backwards(run: Run) -> None:
    run.samples["sync"].seen.queued[3] = run.samples["sync"].seen.started[3] + 0.01


def serve_longer(run: Run) -> None:
    samples = run.samples["async"]
    samples.seen.ended = array(
        "d", (a + 1.5 * (b - a) for a, b in zip(samples.seen.started, samples.seen.ended, strict=True))
    )
    samples.result = shift(samples.seen.ended, 0.002)
    spent = sum(b - a for a, b in zip(samples.seen.started, samples.seen.ended, strict=True))
    run.integrals["async"] = replace(run.integrals["async"], busy_s=spent)


@pytest.mark.parametrize(
    ("id", "damage"),
    [
        ("H1", send_late),
        ("H1", send_one_late),
        ("H2", send_not),
        ("H3", lose_connections),
        ("H3", miscount_connections_of_clients),
        ("H4", work_less),
        ("H5", take_on_more),
        ("H5", run_backwards),
        ("H9", serve_longer),
    ],
)
def test_a_check_fails_on_what_it_is_for(id: str, damage: Callable[[Run], None]) -> None:
    run = calm()
    damage(run)
    result = run.conclude()
    assert verdicts(result)[id] == "fail", detail_of(result, id)
    assert not result["trusted"]


@pytest.mark.parametrize(
    ("id", "conditions"),
    [
        ("H6", {"generator_cpu_share": 0.7}),
        ("H6", {"generator_loop_lag_p99_ms": 9.0}),
        ("H8", {"gc_pause_sum_ms": 5_000.0, "gc_pause_max_ms": 40.0}),
    ],
)
def test_conditions_that_falsify_fail(id: str, conditions: dict[str, Any]) -> None:
    result = calm().conclude(replace(IDLE, **conditions))
    assert [name for name, verdict in verdicts(result).items() if verdict == "fail"] == [id]
    assert not result["trusted"]


@pytest.mark.parametrize(
    ("id", "conditions"),
    [
        ("H6", {"server_loop_lag_p99_ms": 30.0}),
        ("H6", {"server_loop_lag_p99_ms": None}),
        ("H8", {"gc_pause_sum_ms": 12.0, "gc_pause_max_ms": 12.0}),
    ],
)
def test_conditions_that_add_to_the_times_warn(id: str, conditions: dict[str, Any]) -> None:
    result = calm().conclude(replace(IDLE, **conditions))
    assert [name for name, verdict in verdicts(result).items() if verdict == "warn"] == [id]
    assert result["trusted"]


@pytest.mark.parametrize(
    ("id", "damage", "lag_ms", "verdict"),
    [
        # A twentieth of the connections held is 10 ms a request, a tenth of the work 20 ms, 30 % of the times 60 ms.
        ("H3", lose_connections, 0.5, "fail"),
        ("H3", lose_connections, 4.5, "warn"),
        ("H4", work_less, 4.5, "fail"),
        ("H4", work_less, 12.0, "warn"),
        ("H3", miscount_connections_of_clients, 12.0, "fail"),
    ],
)
def test_what_late_event_loops_explain_violates_no_law(
    id: str, damage: Callable[[Run], None], lag_ms: float, verdict: str
) -> None:
    run = calm()
    damage(run)
    result = run.conclude(replace(IDLE, server_loop_lag_p99_ms=lag_ms))
    assert verdicts(result)[id] == verdict, detail_of(result, id)
    warned = verdict == "warn"
    assert ("the machine was busy" in detail_of(result, id), result["trusted"]) == (warned, warned)


def test_nothing_measured_is_no_good_sign() -> None:
    assert verdicts(calm().conclude(Conditions()))["H6"] == "warn"


def test_without_a_request_nothing_was_late() -> None:
    plan = Plan(rate=0.1, duration_s=2, blocks=2, service_time=EXPONENTIAL)
    result = rehearsed(plan).conclude()
    assert result["sync"]["offered"] == 0
    assert verdicts(result)["H1"] == "not_run"
    assert result["trusted"]


def test_arrivals_that_are_not_poisson_are_found_in_what_was_sent() -> None:
    run = calm()
    for samples in run.samples.values():
        for block in samples.blocks:
            for place, index in enumerate(block):
                samples.sent[index] = place / 10
    assert verdicts(run.conclude())["H2"] == "warn"


def test_evenly_planned_arrivals_are_not_held_against_a_poisson_process() -> None:
    assert verdicts(calm(arrivals=Arrivals.CONSTANT).conclude())["H2"] == "ok"


def test_too_few_blocks_are_said() -> None:
    result = calm(duration_s=3.0).conclude()
    assert verdicts(result)["H10"] == "warn"
    assert "3 block pairs are too few" in detail_of(result, "H10")


def test_levels_without_an_upper_bound_are_named() -> None:
    run, result = example()
    assert verdicts(result)["H10"] == "info"
    levels = "sync p95, sync p99, sync p99.9, async p99, async p99.9"
    assert detail_of(result, "H10") == f"The run is too short for an upper bound of {levels}."
    assert run.plan.pairs == 10


def test_overload_is_information() -> None:
    _, result = example()
    assert verdicts(result)["H11"] == "info"
    assert detail_of(result, "H11") == "Overload (ρ = 1.20): all times depend on the length of a block."
    assert result["trusted"]


def test_a_run_that_changes_half_way_is_found() -> None:
    run = calm()
    samples = run.samples["sync"]
    for block in samples.blocks[run.plan.pairs // 2 :]:
        for index in block:
            samples.result[index] += 0.5
            samples.accepted[index] += 0.5
    assert verdicts(run.conclude())["H11"] == "warn"


def test_an_advantage_of_running_second_is_found() -> None:
    run = calm()
    for number, swapped in enumerate(run.plan.second_side_first):
        late = run.samples["sync" if swapped else "async"]
        block = late.blocks[number]
        for index in range(block.start, block.stop):
            late.result[index] += 0.2
    result = run.conclude()
    assert verdicts(result)["H14"] == "warn"
    effect = next(check["value"] for check in result["checks"] if check["id"] == "H14")
    assert effect == pytest.approx(200, abs=5)


def test_a_difference_of_the_sides_is_no_effect_of_their_order() -> None:
    run = calm()
    samples = run.samples["async"]
    samples.result = shift(samples.result, 0.2)
    assert verdicts(run.conclude())["H14"] == "ok"


def test_a_server_with_fewer_workers_than_planned_is_not_explained_by_the_replay() -> None:
    run = calm(rate=30)
    slow = rehearsed(replace(run.plan, workers=7))
    run.samples, run.integrals = slow.samples, slow.integrals
    result = run.conclude()
    assert verdicts(result)["H12"] == "warn"
    assert "mean wait" in detail_of(result, "H12")


def test_reports_that_take_their_own_time_are_measured_and_no_reason_for_distrust() -> None:
    run = calm(service_time=None)
    for name, took in (("sync", 0.002), ("async", 0.003)):
        samples = run.samples[name]
        samples.seen.ended = shift(samples.seen.started, took)
        samples.result = shift(samples.seen.ended, 0.002)
        run.integrals[name] = replace(run.integrals[name], busy_s=took * len(samples))
    result = run.conclude()
    found = next(check for check in result["checks"] if check["id"] == "H9")
    assert (found["verdict"], found["value"]["from_plan"]) == ("info", None)
    assert found["value"]["between_sides"] == pytest.approx(0.4)
    assert verdicts(result)["H4"] == "info"
    assert result["trusted"]


def test_checks_do_not_compare_what_is_not_there() -> None:
    service = {"distribution": "fixed", "mean_ms": 300}
    late = calm(service_time=service, client_timeout_s=0.1, slo_s=0.1).conclude()
    assert late["sync"]["outcomes"]["client_timeout"] == late["sync"]["offered"]
    assert detail_of(late, "H9") == "No request had its result on both sides."
    run = calm()
    for name in run.samples:
        run.samples[name] = Samples.empty(name, run.schedule.due, run.schedule.bounds)
    result = run.conclude()
    assert result["sync"]["outcomes"]["refused"] == len(run.schedule)
    assert not result["trusted"]
    assert verdicts(result)["H14"] == "not_run"


def with_edges(run: Run, source: Random) -> Run:
    """The run with overheads that vary, as on a real machine."""
    for samples in run.samples.values():
        for index in range(len(samples)):
            samples.sent[index] = samples.due[index] + min(source.expovariate(1 / 0.0005), 0.002)
            if samples.outcomes[index] == Outcome.OK:
                late = source.expovariate(1 / 0.002)
                samples.result[index] += late
                if not math.isnan(samples.accepted[index]):
                    samples.accepted[index] += min(late, 0.001)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_correct_runs_seldom_raise_an_alarm(rho: float, capsys: pytest.CaptureFixture[str]) -> None:
    """At most 5 % of correct simulated runs, by check."""
    alarms: Counter[str] = Counter()
    runs = 100
    service = {"distribution": "exponential", "mean_ms": 180}
    for seed in range(runs):
        plan = Plan(
            rate=rho * 4 / 0.18, duration_s=60, workers=4, service_time=service, seed=seed, client_timeout_s=None
        )
        result = with_edges(rehearsed(plan, prediction_runs=10), Random(seed)).conclude()
        alarms.update(id for id, verdict in verdicts(result).items() if verdict in {"warn", "fail"})
    with capsys.disabled():
        print(f"\nfalse alarms in {runs} correct runs at ρ = {rho}: {dict(alarms)}")
    assert all(count <= 0.05 * runs for count in alarms.values()), alarms


def test_the_numbers_of_the_checks_are_those_of_the_documentation() -> None:
    from pathlib import Path

    text = Path("docs/benchmark.md").read_text(encoding="utf-8")
    named = {
        f"H{number}"
        for row in re.findall(r"^\| (H[0-9, H]+) \|", text, re.MULTILINE)
        for number in re.findall(r"\d+", row)
    }
    assert named == set(IDS)
