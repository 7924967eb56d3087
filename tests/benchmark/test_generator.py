"""The generator's process: ahead of others while it sends, and only then."""

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from reportsim.benchmark.generator import hurrying


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
    with hurrying():
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
    with hurrying():
        ran = True
    assert ran


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="not on this system")
def test_it_runs_like_any_other_where_that_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("not you")

    usual = os.sched_getscheduler(0)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with hurrying():
        assert os.sched_getscheduler(0) == usual
    assert os.sched_getscheduler(0) == usual
