"""Running programs, and finding processes that were started for a data folder."""

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reportsim.store.embedded_postgres.signals import defer_signals

if TYPE_CHECKING:
    import psutil


def run_program(words: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with its errors among its output; an interrupt kills it at any moment.

    It has a session of its own, so that signals of the terminal go to the command alone, which passes them on, and so
    that the programs that it has started are killed with it.
    `subprocess.run` would leave a program running that is interrupted between its start and its registration.
    """
    with contextlib.ExitStack() as running:
        with defer_signals():
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                **options,
            )
            running.enter_context(process)
            running.push(lambda kind, *_: kill_session(process) if kind else None)
        output, _ = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, output)


def kill_session(leader: "subprocess.Popen[str]") -> None:
    """Kill a program that has a session of its own, and what it has started in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)


def runs_on(folder: Path, pid: str) -> bool:
    """Say whether a process id belongs to a server of this folder: it may have been reused."""
    import psutil  # comes with the wheel

    try:
        return belongs_to(psutil.Process(int(pid)), folder)
    except (psutil.Error, ValueError):
        return False


def belongs_to(process: "psutil.Process", folder: Path) -> bool:
    """Say whether a process was started for this folder or one below it."""
    import psutil

    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return any(before == "-D" and Path(after).is_relative_to(folder) for before, after in itertools.pairwise(words))
