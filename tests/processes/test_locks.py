"""Locks between processes: whoever has one keeps others out, until it gives it back, dies, or is stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from reportsim.processes.locks import ProcessLock

# Takes lock 7, says so, and keeps it.
HOLDING = """
import sys, time
from reportsim.processes.locks import ProcessLock
assert ProcessLock(int(sys.argv[1])).acquire(7)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def shared() -> Iterator[int]:
    file = os.memfd_create("locks")
    yield file
    os.close(file)


@pytest.fixture
def holder(shared: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has lock 7."""
    command = [sys.executable, "-c", HOLDING, str(shared)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[shared]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_lock_keeps_others_out_and_leaves_the_other_numbers_free(
    shared: int, holder: "subprocess.Popen[bytes]"
) -> None:
    lock = ProcessLock(shared)
    assert not lock.acquire(7)
    assert lock.acquire(8)
    lock.release(8)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_holder_that_dies_gives_it_back(shared: int, holder: "subprocess.Popen[bytes]", end: signal.Signals) -> None:
    holder.send_signal(end)
    holder.wait()
    assert ProcessLock(shared).acquire(7)


def test_a_holder_that_is_stopped_does_not_stop_others(shared: int, holder: "subprocess.Popen[bytes]") -> None:
    holder.send_signal(signal.SIGSTOP)
    assert not ProcessLock(shared).acquire(7)
