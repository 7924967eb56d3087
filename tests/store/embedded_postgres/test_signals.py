"""Signals that end a process come after what must not be torn."""

import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from reportsim.store.embedded_postgres.processes import run_program
from reportsim.store.embedded_postgres.signals import defer_signals, ignore_signals


@pytest.fixture(autouse=True)
def python_handles_interrupts() -> Iterator[None]:
    """As it does by default; what a shell starts in its background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_that_is_deferred_is_handled_after_the_block() -> None:
    done = []

    def interrupted() -> None:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            done.append("the whole block")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["the whole block"]


def test_a_signal_that_is_ignored_is_not_handled_at_all() -> None:
    with ignore_signals():
        signal.raise_signal(signal.SIGINT)


def test_a_program_whose_start_is_interrupted_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[Any]] = []

    class Interrupted(subprocess.Popen[Any]):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("reportsim.store.embedded_postgres.processes.subprocess.Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_program(["sleep", "60"])
    assert [process.returncode for process in started] == [-signal.SIGKILL]
