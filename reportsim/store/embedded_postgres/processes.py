"""Processes that were started for a data folder."""

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if sys.platform != "win32":
    pass
if TYPE_CHECKING:
    import psutil


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
