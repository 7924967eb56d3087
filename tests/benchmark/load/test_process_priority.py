"""The generator's process: ahead of others while it sends, and only then."""

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from reportsim.benchmark.load.own_service import outcome_of
from reportsim.benchmark.load.process_setup import raise_priority
from reportsim.benchmark.results.samples import Outcome


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The policies that the kernel was asked for."""
    policies: list[int] = []
    change: Callable[[int, int, Any], None] = os.sched_setscheduler

    def noted(pid: int, policy: int, param: Any) -> None:
        policies.append(policy)
        change(pid, policy, param)

    monkeypatch.setattr(os, "sched_setscheduler", noted)
    return policies


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="not on this system")
def test_it_goes_before_others_for_as_long_as_it_measures(asked: list[int]) -> None:
    usual = os.sched_getscheduler(0)
    with raise_priority():
        within = os.sched_getscheduler(0)
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            allowed = True
        except PermissionError:
            allowed = False
    assert within == (os.SCHED_RR if allowed else usual)
    assert os.sched_getscheduler(0) == usual
    assert asked == [os.SCHED_RR, os.SCHED_RR, *([usual] if allowed else [])]


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="not on this system")
def test_it_runs_like_any_other_where_nothing_of_the_kind_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with musl, whose functions only say that they are not there."""

    def absent(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    for name in ("sched_getscheduler", "sched_getparam", "sched_setscheduler"):
        monkeypatch.setattr(os, name, absent)
    ran = False
    with raise_priority():
        ran = True
    assert ran


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="not on this system")
def test_it_runs_like_any_other_where_that_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("not you")

    usual = os.sched_getscheduler(0)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with raise_priority():
        assert os.sched_getscheduler(0) == usual
    assert os.sched_getscheduler(0) == usual


@pytest.mark.parametrize(
    ("status", "problem", "outcome"),
    [
        (None, "", Outcome.REFUSED),
        (200, "", Outcome.OK),
        (404, "not-found", Outcome.HTTP_4XX),
        (429, "rate-limited", Outcome.SHED),
        (500, "report-failed", Outcome.JOB_FAILED),
        (500, "internal-error", Outcome.HTTP_5XX),
        (503, "no-capacity", Outcome.SHED),
        (504, "", Outcome.HTTP_5XX),
    ],
)
def test_every_answer_has_one_meaning(status: int | None, problem: str, outcome: Outcome) -> None:
    assert outcome_of(status, f'{{"type":"/problems/{problem}"}}'.encode()) is outcome
