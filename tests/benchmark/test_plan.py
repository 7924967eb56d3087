"""Plans and schedules: bounded, seeded, the same for both sides, and exactly what the server will draw."""

import json
import math
import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportsim.benchmark.checks.load_checks import gaps_of, kolmogorov
from reportsim.benchmark.load.arrivals import Schedule, make_schedule
from reportsim.benchmark.plan import BOUNDS, Arrivals, Cancel, Plan, PlanError
from reportsim.core.model import Mode
from reportsim.engine.simulate import draw

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


@given(PLANS)
def test_blocks_run_a_b_b_a_and_hold_every_request_once(plan: Plan) -> None:
    blocks = plan.blocks
    assert [(block.mode, block.number) for block in blocks] == [
        (Mode.SYNC, 0),
        (Mode.ASYNC, 0),
        (Mode.ASYNC, 1),
        (Mode.SYNC, 1),
    ]
    for mode in Mode:
        indices = [index for block in blocks if block.mode is mode for index in block.indices]
        assert sorted(indices) == list(range(plan.count))
    assert all(block.indices for block in blocks)
    assert plan.count == max(round(plan.rate * plan.duration_s), 2)


@given(PLANS)
@settings(max_examples=50)
def test_a_schedule_is_the_plan_and_nothing_else(plan: Plan) -> None:
    schedule = make_schedule(plan)
    assert schedule == make_schedule(Plan.from_json(plan.as_json()))
    assert schedule == Schedule.from_json(json.loads(json.dumps(schedule.as_json())))
    for half in plan.halves:
        times = schedule.intended[half.start : half.stop]
        assert list(times) == sorted(times)
        # A burst may begin within the last gap of the block.
        assert times[0] >= 0
        assert times[-1] <= plan.block_s + 2 / plan.rate


@given(PLANS)
@settings(max_examples=30)
def test_service_times_are_what_the_server_will_draw(plan: Plan) -> None:
    schedule = make_schedule(plan)
    for seed, service in zip(schedule.seeds, schedule.services, strict=True):
        simulate = plan.body(seed).get("simulate")
        assert service == (draw(simulate).service_s if simulate else 0.0)


def test_another_seed_is_another_schedule_with_the_same_shape() -> None:
    first, second = (make_schedule(Plan(seed=seed)) for seed in (1, 2))
    assert first != second
    assert len(first.intended) == len(second.intended) == 480
    # The service times do not hang on how the arrivals are spread.
    assert make_schedule(Plan(arrivals=Arrivals.CONSTANT)).services == first.services


def test_a_damaged_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="as many"):
        Schedule.from_json({"intended_s": [1.0], "seeds": [], "service_s": [1.0]})


@pytest.mark.parametrize("arrivals", Arrivals)
def test_the_mean_rate_is_the_same_for_all_arrivals(arrivals: Arrivals) -> None:
    plan = Plan(rate=20, duration_s=40, arrivals=arrivals)
    times = make_schedule(plan).intended[: len(plan.halves[0])]
    assert len(times) == 400
    assert times[-1] == pytest.approx(plan.block_s, abs=1.5)


def test_arrivals_are_spread_as_their_name_says() -> None:
    def block(arrivals: Arrivals) -> list[float]:
        plan = Plan(rate=50, duration_s=40, arrivals=arrivals)
        return make_schedule(plan).intended[: len(plan.halves[0])].tolist()

    assert kolmogorov(gaps_of(block(Arrivals.POISSON)), 50) < 1.628 / math.sqrt(999)
    assert statistics.pstdev(gaps_of(block(Arrivals.CONSTANT))) == pytest.approx(0, abs=1e-9)
    assert sorted(set(block(Arrivals.BURST))) == [float(second) for second in range(20)]
    ramp = block(Arrivals.RAMP)
    # At a rate that rises from nothing, a quarter of the arrivals comes in the first half.
    assert sum(time < 10 for time in ramp) == pytest.approx(250, abs=50)


def test_what_clients_and_server_do_about_time_depends_on_the_side() -> None:
    plan = Plan(client_timeout_s=3, cancel=Cancel.RUNNING)
    assert (plan.timeout_of(Mode.SYNC), plan.cancel_of(Mode.SYNC)) == (3, Cancel.RUNNING)
    assert (plan.timeout_of(Mode.ASYNC), plan.cancel_of(Mode.ASYNC)) == (math.inf, Cancel.NONE)
    assert Plan(client_timeout_s=None).timeout_of(Mode.SYNC) == math.inf
