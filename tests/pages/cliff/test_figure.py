"""What the server draws: the still of each load, and the runs that can be compared with the curve."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.workload import Arrivals
from reportsim.pages.cliff.figure import load_cliff, measured_point, place
from reportsim.pages.cliff.scenario import LOADS, plan_at
from reportsim.store.benchmarks import Summary

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def run_of(plan: Plan, share: float | None = 0.25, **changes: Any) -> Summary:
    """A finished run of a plan, in which this share of the sync clients gave up."""
    values = {
        "id": UUID(int=1),
        "status": "COMPLETED",
        "plan": plan.as_json(),
        "verdict": "",
        "trusted": True,
        "created_at": NOW,
        "completed_at": NOW,
        "sync_timeout_share": share,
    }
    return Summary(**{**values, **changes})


def test_every_client_of_a_still_has_its_report_or_gave_up() -> None:
    for load in LOADS:
        still = load_cliff().stills[load]
        assert still.served.count("M") == still.clients - still.gave_up
        # A cross is two strokes.
        assert still.gone.count("m") == still.gone.count("M") == still.gave_up
        assert still.everyone.count("M") == still.clients
    assert load_cliff().stills[50].gave_up < load_cliff().stills[120].gave_up


def test_a_run_of_the_control_is_a_point_at_its_load() -> None:
    for load in LOADS:
        point = measured_point(run_of(plan_at(load, seed=3)))
        assert point is not None
        assert (point.load, point.share, point.same_service, point.trusted) == (load, 0.25, True, True)
        assert (point.x, point.y) == (place(load), 75)
    untrusted = measured_point(run_of(plan_at(95), trusted=False))
    assert untrusted is not None
    assert not untrusted.trusted


@pytest.mark.parametrize("changes", [{"workers": 8, "rate": 76.0}, {"client_timeout_s": 1.0}, {"duration_s": 30}])
def test_a_run_of_another_service_is_marked_as_such(changes: dict[str, Any]) -> None:
    point = measured_point(run_of(plan_at(95, **changes)))
    assert point is not None
    assert point.load == 95
    assert not point.same_service


@pytest.mark.parametrize(
    "plan",
    [
        plan_at(45),
        plan_at(125),
        plan_at(95, arrivals=Arrivals.CONSTANT),
        plan_at(95, cancel=Cancel.QUEUED),
        plan_at(95, client_timeout_s=None),
        plan_at(95, service_time=None),
    ],
)
def test_a_run_that_the_theory_says_nothing_of_is_no_point(plan: Plan) -> None:
    assert measured_point(run_of(plan)) is None


def test_a_run_without_a_result_is_no_point() -> None:
    assert measured_point(run_of(plan_at(95), share=None)) is None


def test_runs_of_earlier_versions_are_read() -> None:
    run = run_of(plan_at(95))
    del run.plan["blocks"]
    assert measured_point(run) is not None
