"""Plans and schedules: bounded, seeded, the same for both sides, and exactly what the server will draw."""

import json
import math
import statistics
from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reportsim.benchmark.checks.load_checks import gaps_of, kolmogorov
from reportsim.benchmark.plan import BOUNDS, MOST_DRAIN_S, MOST_SIDE_DRAIN_S, Cancel, Plan
from reportsim.benchmark.results.samples import Samples
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.workload import Arrivals, PlanError
from reportsim.core.model import Mode
from reportsim.core.service_time import draw

BIMODAL = {"distribution": "bimodal", "fast_ms": 10, "slow_ms": 200, "slow_share": 0.3}
PLANS = st.builds(
    Plan,
    rate=st.floats(0.1, 40),
    duration_s=st.floats(1, 20),
    arrivals=st.sampled_from(Arrivals),
    seed=st.integers(0, 2**31 - 1),
    workers=st.integers(1, 32),
    service_time=st.sampled_from([None, BIMODAL, {"distribution": "exponential", "mean_ms": 30}]),
    client_timeout_s=st.none() | st.floats(0.1, 100),
    cancel=st.sampled_from(Cancel),
)


@given(PLANS)
def test_a_plan_survives_json(plan: Plan) -> None:
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


def test_what_is_no_parameter_of_the_load_belongs_to_the_report() -> None:
    plan = Plan.from_json({"rate": 2, "report_type": "cash_flow", "ledger": "demo"})
    assert plan.report == {"ledger": "demo", "report_type": "cash_flow"}
    assert plan.body(7) == {
        "ledger": "demo",
        "report_type": "cash_flow",
        "simulate": {"service_time": {"distribution": "exponential", "mean_ms": 1000}, "seed": 7},
    }
    assert Plan.from_json({}).report == {"ledger": "tiny"}
    assert "simulate" not in Plan(service_time=None).body(7)


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("how", ["below", "above", "nan", "text", "bool"])
def test_values_out_of_bounds_are_refused(name: str, how: str) -> None:
    low, high = BOUNDS[name]
    value: Any = {"below": low - 1, "above": high + 1, "nan": math.nan, "text": "1", "bool": True}[how]
    with pytest.raises(PlanError, match=name):
        Plan.from_json({name: value})


@pytest.mark.parametrize(
    "parameters",
    [{"rate": 5_000, "duration_s": 600}, {"arrivals": "sometimes"}, {"cancel": "perhaps"}, {"workers": 1.5}],
)
def test_plans_that_cannot_be_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(parameters)


FIXED_16_S = {"distribution": "fixed", "mean_ms": 16_000}
OVERLOAD: dict[str, Any] = {"workers": 1, "duration_s": 600, "service_time": {"distribution": "fixed", "mean_ms": 1000}}


@pytest.mark.parametrize("blocks", [2, None, 50])
def test_what_a_side_may_take_to_work_off_does_not_grow_with_the_number_of_blocks(blocks: int | None) -> None:
    plan = Plan(rate=3, blocks=blocks, **OVERLOAD)
    plan.check_length()
    assert plan.pairs * plan.expected_drain_s == pytest.approx(MOST_SIDE_DRAIN_S)
    for excessive in ({"rate": 3.1}, {"rate": 11}, {"rate": 100, "workers": 32, "service_time": FIXED_16_S}):
        with pytest.raises(PlanError, match="s to work off"):
            Plan(**{**OVERLOAD, "blocks": blocks, **excessive}).check_length()


def test_a_stored_run_may_have_taken_longer() -> None:
    """It was started by a build that did not bound all blocks together."""
    stored = Plan(**OVERLOAD, rate=11, blocks=50)
    assert Plan.from_json(stored.as_json()) == stored


def test_what_one_block_may_take_to_work_off_is_bounded() -> None:
    assert Plan(**OVERLOAD, rate=2, together=True).expected_drain_s == MOST_DRAIN_S
    with pytest.raises(PlanError, match="a block of this load"):
        Plan(**OVERLOAD, rate=2.1, together=True)


@given(PLANS)
def test_each_pair_of_blocks_has_both_sides_in_an_order_that_is_balanced(plan: Plan) -> None:
    blocks = [block for step in plan.steps for block in step]
    assert [block.number for block in blocks] == [number for number in range(plan.pairs) for _ in range(2)]
    for number in range(plan.pairs):
        assert {block.side for block in blocks if block.number == number} == set(plan.sides)
    first = [blocks[2 * number].side.mode for number in range(plan.pairs)]
    assert abs(first.count(Mode.SYNC) - first.count(Mode.ASYNC)) <= 1
    assert plan.steps == Plan.from_json(plan.as_json()).steps


def test_the_order_of_the_pairs_is_drawn_from_the_seed() -> None:
    orders = {Plan(seed=seed).second_side_first for seed in range(40)}
    assert len(orders) > 20
    assert {order[0] for order in orders} == {True, False}


@pytest.mark.parametrize(
    ("parameters", "pairs"),
    [
        ({}, 10),
        ({"duration_s": 3.5}, 3),
        ({"duration_s": 1}, 1),
        ({"blocks": 20}, 20),
        ({"blocks": 4, "duration_s": 4}, 4),
    ],
)
def test_blocks_are_ten_or_as_many_as_fit(parameters: dict[str, Any], pairs: int) -> None:
    plan = Plan(**parameters)
    assert plan.pairs == pairs
    assert plan.block_s * pairs == pytest.approx(plan.duration_s)
    assert plan.block_s >= 1


def test_explicit_blocks_of_less_than_a_second_are_refused() -> None:
    with pytest.raises(PlanError, match="shortest block"):
        Plan(duration_s=10, blocks=11)


def test_an_a_a_run_has_the_same_pattern_under_two_names() -> None:
    plan = Plan.from_json({"both": "sync", "client_timeout_s": 3})
    assert [(side.name, side.mode) for side in plan.sides] == [("a", Mode.SYNC), ("b", Mode.SYNC)]
    assert [side.timeout_s for side in plan.design.sides] == [3, 3]
    with pytest.raises(PlanError, match="both"):
        Plan.from_json({"both": "neither"})


def test_ways_to_learn_a_result_need_an_async_side() -> None:
    with pytest.raises(PlanError, match="async side"):
        Plan(both=Mode.SYNC, ways=True)
    assert Plan(both=Mode.ASYNC, ways=True).ways
    assert Plan(ways=True).ways


@given(PLANS)
@settings(max_examples=50)
def test_a_schedule_is_the_plan_and_nothing_else(plan: Plan) -> None:
    schedule, again = make_schedule(plan), make_schedule(Plan.from_json(plan.as_json()))
    for field in fields(schedule):
        assert getattr(schedule, field.name) == getattr(again, field.name), field.name
    assert len(schedule.due) == len(schedule.seeds) == len(schedule.services)
    assert len(schedule.blocks) == plan.pairs
    assert [index for block in schedule.blocks for index in block] == list(range(len(schedule)))
    for block in schedule.blocks:
        times = list(schedule.due[block.start : block.stop])
        assert times == sorted(times)
        assert all(0 <= time <= plan.block_s for time in times)


@given(PLANS)
@settings(max_examples=30)
def test_service_times_are_what_the_server_will_draw(plan: Plan) -> None:
    schedule = make_schedule(plan)
    for seed, service in zip(schedule.seeds, schedule.services, strict=True):
        simulate = plan.body(seed).get("simulate")
        assert service == (draw(simulate).service_s if simulate else 0.0)


def test_another_seed_is_another_schedule() -> None:
    first, second = (make_schedule(Plan(seed=seed)) for seed in (1, 2))
    assert first.due != second.due
    # The service times do not depend on how the arrivals are spread.
    even = make_schedule(Plan(arrivals=Arrivals.CONSTANT))
    common = min(len(even), len(first))
    assert even.services[:common] == first.services[:common]


@pytest.mark.parametrize("arrivals", Arrivals)
def test_the_mean_rate_is_the_same_for_all_arrivals(arrivals: Arrivals) -> None:
    schedule = make_schedule(Plan(rate=20, duration_s=400, arrivals=arrivals))
    assert len(schedule) == pytest.approx(8_000, rel=0.05)
    assert [schedule.due[block[-1]] for block in schedule.blocks] == pytest.approx([40] * 10, abs=1)


@pytest.mark.parametrize(("arrivals", "last"), [(Arrivals.CONSTANT, 39.95), (Arrivals.BURST, 39.0)])
def test_arrivals_without_chance_have_their_rate_in_every_block(arrivals: Arrivals, last: float) -> None:
    schedule = make_schedule(Plan(rate=20, duration_s=400, arrivals=arrivals))
    assert len(schedule) == 8_000
    assert [(len(block), schedule.due[block[-1]]) for block in schedule.blocks] == [(800, last)] * 10


@given(
    arrivals=st.sampled_from([Arrivals.CONSTANT, Arrivals.BURST]),
    rate=st.floats(0.1, 60),
    block_s=st.floats(1, 10),
    blocks=st.integers(1, 12),
)
@example(Arrivals.CONSTANT, 2.5, 1.0, 10)
@example(Arrivals.BURST, 0.3, 1.0, 10)
@example(Arrivals.CONSTANT, 7.5, 1.0, 10)
@example(Arrivals.BURST, 3.0, 1.5, 10)
def test_arrivals_without_chance_have_the_rate_of_the_whole_run(
    arrivals: Arrivals, rate: float, block_s: float, blocks: int
) -> None:
    plan = Plan(rate=rate, duration_s=block_s * blocks, blocks=blocks, arrivals=arrivals)
    schedule = make_schedule(plan)
    assert len(schedule) == max(round(rate * plan.duration_s), 1)
    together = 1 if arrivals is Arrivals.CONSTANT else max(round(rate), 2)
    moments = [
        plan.block_s * number + schedule.due[index] for number, block in enumerate(schedule.blocks) for index in block
    ]
    assert moments == pytest.approx([index // together * together / rate for index in range(len(moments))], abs=1e-6)
    for block in schedule.blocks:
        assert all(0 <= schedule.due[index] <= plan.block_s + 1e-6 for index in block)
        # No burst begins in one block and goes on in the next.
        assert block.start % together == 0 or not block


def test_poisson_arrivals_are_a_poisson_process_in_their_gaps_and_in_their_number() -> None:
    plan = Plan(rate=50, duration_s=200, blocks=50)
    schedule = make_schedule(plan)
    samples = Samples.empty("sync", schedule.due, schedule.bounds)
    samples.sent = schedule.due
    assert kolmogorov(gaps_of(samples, plan.design), 50) < 1.628 / math.sqrt(len(schedule))
    counts = [len(block) for block in schedule.blocks]
    # The variance of a Poisson count is its mean; that of 50 blocks is within a factor of two of it.
    assert 0.5 < statistics.variance(counts) / 200 < 2


def test_arrivals_are_spread_as_their_name_says() -> None:
    def block(arrivals: Arrivals) -> list[float]:
        schedule = make_schedule(Plan(rate=50, duration_s=80, blocks=4, arrivals=arrivals))
        return schedule.due[: schedule.bounds[1]].tolist()

    even = block(Arrivals.CONSTANT)
    assert statistics.pstdev(later - earlier for earlier, later in pairwise(even)) == pytest.approx(0, abs=1e-9)
    assert sorted(set(block(Arrivals.BURST))) == [float(second) for second in range(20)]
    ramp = block(Arrivals.RAMP)
    # At a rate that rises from nothing, a quarter of the arrivals comes in the first half.
    assert sum(time < 10 for time in ramp) == pytest.approx(250, abs=50)


def test_what_clients_and_server_do_about_time_depends_on_the_side() -> None:
    plan = Plan(client_timeout_s=3, cancel=Cancel.RUNNING)
    assert (plan.timeout_of(Mode.SYNC), plan.cancel_of(Mode.SYNC)) == (3, Cancel.RUNNING)
    assert (plan.timeout_of(Mode.ASYNC), plan.cancel_of(Mode.ASYNC)) == (math.inf, Cancel.NONE)
    assert Plan(client_timeout_s=None).timeout_of(Mode.SYNC) == math.inf
