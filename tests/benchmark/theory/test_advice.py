"""Advice: the rate that it names has the tolerable share of time-outs, by theory and by simulation."""

from typing import Any

import pytest

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.theory.advice import TOLERABLE, advise, highest_rate
from reportsim.benchmark.theory.load_sweep import Setting, point
from reportsim.core.model import Mode

EXPONENTIAL: dict[str, Any] = {"distribution": "exponential", "mean_ms": 180}
LOGNORMAL: dict[str, Any] = {"distribution": "lognormal", "median_ms": 150, "sigma": 0.6, "max_ms": 60_000}


def a_plan(**changes: Any) -> Plan:
    return Plan(**{"rate": 10, "workers": 4, "service_time": EXPONENTIAL, "client_timeout_s": 1.5, **changes})


@pytest.mark.parametrize("service", [EXPONENTIAL, LOGNORMAL])
def test_at_the_rate_that_is_named_a_hundredth_times_out(service: dict[str, Any]) -> None:
    plan = a_plan(service_time=service)
    rate = highest_rate(plan, 1.5)
    setting = Setting(rate=rate, service=plan.service, workers=4, timeout=1.5, duration_s=2_000)
    assert point(setting, "rate", rate).timeout_share == pytest.approx(TOLERABLE, rel=0.4)
    assert f"{rate:.3g} requests per second" in (advise(plan) or "")


def test_reports_that_take_too_long_alone_are_said() -> None:
    assert "does not fit at any rate" in (advise(a_plan(client_timeout_s=0.3)) or "")


@pytest.mark.parametrize("changes", [{"client_timeout_s": None}, {"both": Mode.SYNC}, {"cancel": Cancel.QUEUED}])
def test_there_is_no_advice_without_a_theory(changes: dict[str, Any]) -> None:
    assert advise(a_plan(**changes)) is None
