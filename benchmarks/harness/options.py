"""What a run of the benchmark was asked for."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.harness.page import PAGE, ROOT

LEAST_ROUNDS: Final = 3


class NotInstalledError(Exception):
    """A part needs what is not installed here."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which parts, how thoroughly, against what, and where the figures go."""

    parts: Sequence[str]
    rounds: int = LEAST_ROUNDS
    full: bool = False
    small: bool = False
    against: Path | None = None
    page: Path = PAGE

    @property
    def checkouts(self) -> tuple[Path, ...]:
        """This checkout, and the one that it is measured against."""
        return (ROOT,) if self.against is None else (ROOT, self.against)

    @property
    def requests(self) -> int:
        """How many requests a client that is alone makes in a round, at most."""
        return self.size(30, 5)

    def size(self, usual: int, small: int) -> int:
        """A size, or what stands for it where only the working of the benchmark is looked at."""
        return small if self.small else usual

    def __str__(self) -> str:
        size = " small sizes," if self.small else ""
        return f"{size} {self.rounds} rounds".strip()


def parse(arguments: Sequence[str] | None, parts: Sequence[str]) -> Options:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and write docs/performance.md.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; by default all")
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help="at least 3, unless --small")
    parser.add_argument("--full", action="store_true", help="ledgers of 10 M lines and 5 M requests, too")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that the benchmark works")
    parser.add_argument("--against", type=Path, help="another checkout, with its own .venv, measured in turn (growth)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the figures go (docs/performance.md)")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if given.rounds < LEAST_ROUNDS and not given.small:
        parser.error("a median needs at least 3 rounds")
    if given.against is not None and not (given.against / ".venv/bin/python").exists():
        parser.error(f"{given.against} has no .venv")
    if given.small and given.page == PAGE:
        parser.error("small sizes are no figures for docs/performance.md: name another --page")
    return Options(**{**vars(given), "parts": given.parts or list(parts)})
