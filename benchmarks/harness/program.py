"""Benchmarks that print their figures: run each in a process of its own, and show what it printed."""

import subprocess
import sys
from pathlib import Path

from benchmarks.harness.options import NotInstalledError, Options
from benchmarks.harness.page import ROOT


def printed(options: Options, *modules: str, python: Path | None = None) -> str:
    """What some modules print, each as a block."""
    if options.small:
        raise NotInstalledError(f"{' and '.join(modules)} have no small sizes")
    if python is not None and not python.exists():
        raise NotInstalledError("what is compared is not installed: make .venv/peers/stamp")
    blocks = []
    for module in modules:
        command = [str(python or sys.executable), "-m", module]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        blocks.append(f"`python -m {module}`:\n\n```text\n{done.stdout.strip()}\n```")
    return "\n\n".join(blocks)
