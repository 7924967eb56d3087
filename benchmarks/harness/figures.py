"""Figures: rounds taken in turn, medians, ratios, and the tables that show them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

Name = TypeVar("Name")
NOT_MEASURED: Final = "–"
# Below this, a rate is shown with three digits.
WHOLE: Final = 100


def interleave(variants: Mapping[Name, Callable[[], float]], rounds: int) -> dict[Name, list[float]]:
    """Every variant once per round, so that whatever else the machine does disturbs all of them alike."""
    found: dict[Name, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            found[name].append(measure())
    return found


def ratio(dividends: Sequence[float], divisors: Sequence[float]) -> float:
    """The median of the ratios of two variants, round by round."""
    return statistics.median(one / other for one, other in zip(dividends, divisors, strict=True))


def number(value: float) -> str:
    """A figure with three digits, or whole."""
    if abs(value) >= WHOLE:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def shown(values: Sequence[float], unit: str = "") -> str:
    """A median with the lowest and the highest of the rounds."""
    if not values:
        return NOT_MEASURED
    unit = f" {unit}" if unit else ""
    return f"{number(statistics.median(values))}{unit} ({number(min(values))} to {number(max(values))})"


def count(lines: int) -> str:
    """A round number as people say it: 10 k, 1 M."""
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if lines >= size and lines % size == 0:
            return f"{lines // size}{unit}"
    return f"{lines:,}"


@dataclass(frozen=True)
class Table:
    """A table in Markdown; all columns but the first are numbers."""

    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Adds a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def __str__(self) -> str:
        rule = ["---", *["---:"] * (len(self.columns) - 1)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (self.columns, rule, *self.rows))
