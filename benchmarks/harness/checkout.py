"""A checkout of the project as it is used from outside: its command line and its service, on a database of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.harness.page import ROOT
from benchmarks.server import SERVE, Server, environment, running

# Runs commands in one process, so that an interpreter's start is not counted, and prints the seconds of each.
RUN: Final = """
import contextlib, json, os, sys, time
from reportsim.__main__ import main
for arguments in json.load(sys.stdin):
    began = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        code = main(arguments)
    if code:
        sys.exit(f"{arguments}: exit code {code}")
    print(time.perf_counter() - began, flush=True)
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout and its database."""

    root: Path
    dsn: str

    @property
    def python(self) -> str:
        """Its interpreter."""
        return sys.executable if self.root == ROOT else str(self.root.absolute() / ".venv" / "bin" / "python")

    def run(self, *commands: Sequence[str]) -> list[float]:
        """Runs commands of `reportsim` one after the other; returns the seconds that each took."""
        done = subprocess.run(
            [self.python, "-c", RUN],
            input=json.dumps(commands),
            cwd=self.root,
            env=environment(DATABASE_URL=self.dsn),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2_000:])
        return [float(line) for line in done.stdout.split()]

    def generate(self, ledger: str, lines: int, seed: int = 42) -> float:
        """Generates a ledger; returns the seconds."""
        [seconds] = self.run(("ledger", "generate", "--ledger", ledger, f"--lines={lines}", f"--seed={seed}"))
        return seconds

    @contextmanager
    def serving(self, program: Sequence[str] = SERVE, **settings: str) -> Iterator[Server]:
        """Its service, without the two ledgers that a first start makes."""
        settings = {"DATABASE_URL": self.dsn, "REPORTSIM_DEMO_LINES": "4", **settings}
        with running(program, python=self.python, cwd=str(self.root), **settings) as server:
            yield server
