"""Waiting until what one round left behind is done, so that it does not disturb the next one."""

import contextlib
import time
from collections.abc import Iterable
from typing import Final

import psutil

LONGEST_S: Final = 120.0
LOOK_S: Final = 0.3
IDLE: Final = 0.03


def wait_until_idle(pids: Iterable[int]) -> None:
    """Waits until processes and their children hardly use the processor; a busy one is waited for in vain, not long."""
    deadline = time.monotonic() + LONGEST_S
    pids = list(pids)
    before = cpu_of(pids)
    while time.monotonic() < deadline:
        time.sleep(LOOK_S)
        after = cpu_of(pids)
        if after - before < IDLE * LOOK_S:
            return
        before = after


def cpu_of(pids: Iterable[int]) -> float:
    """The CPU seconds of processes and their children so far."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            for each in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    seconds += sum(each.cpu_times()[:2])
    return seconds
