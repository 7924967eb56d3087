"""Both sides against each other, request by request: the same arrival, the same service time, another pattern."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from reportsim.benchmark.results.side_samples import Side
from reportsim.benchmark.results.summary import SideResult, TimeSummary
from reportsim.benchmark.statistics.intervals import BlockTimes, Estimate, Quantile, estimate_request_mean

Json = dict[str, Any]
# Differences that the clocks of two processes do not settle, in milliseconds.
TIE_MS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelDifference:
    """One quantile of both sides, in milliseconds; no difference where one of them is only a lower bound."""

    values: tuple[float | None, float | None]
    difference: float | None
    ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The second side − the first; requests are paired by block and index."""

    names: tuple[str, str]
    pairs: int
    """Requests that have a time on both sides, be it one that was cut off."""
    blocks: int
    only_first: int
    """Requests with a result on the first side alone."""
    only_second: int
    neither: int
    mean_ms: Estimate
    median_ms: Estimate
    limit_ms: float | None
    """Times on both sides are cut off at this before they are subtracted."""
    first_faster: int
    ties: int
    second_faster: int
    accept_ms: dict[str, LevelDifference]
    time_to_result_ms: dict[str, LevelDifference]

    def as_json(self) -> Json:
        """The comparison as the API has it."""
        first, second = self.names
        return {
            "pairs": self.pairs,
            f"only_{first}": self.only_first,
            f"only_{second}": self.only_second,
            "neither": self.neither,
            "difference_ms": {"mean": self.mean_ms.as_json(), "median": self.median_ms.as_json()},
            "limit_ms": self.limit_ms,
            "faster": {first: self.first_faster, "tie": self.ties, second: self.second_faster},
            "tie_ms": TIE_MS,
            "accept_ms": self._levels_as_json(self.accept_ms),
            "time_to_result_ms": self._levels_as_json(self.time_to_result_ms),
        }

    def _levels_as_json(self, levels: dict[str, LevelDifference]) -> Json:
        return {
            level: {
                **dict(zip(self.names, found.values, strict=True)),
                "difference": found.difference,
                "ratio": found.ratio,
            }
            for level, found in levels.items()
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """The times of one request on both sides, in seconds; infinite: cut off, NaN: none."""

    block: int
    first: float
    second: float


def match(first: Side, second: Side) -> Iterator[Pair]:
    """The requests that both sides have."""
    for number, (block, other) in enumerate(zip(first.samples.blocks, second.samples.blocks, strict=True)):
        indices = {second.samples.numbers[at]: at for at in other}
        for at in block:
            partner = indices.get(first.samples.numbers[at])
            if partner is not None:
                yield Pair(number, first.times[at], second.times[partner])


def compare_sides(sides: tuple[Side, Side], results: tuple[SideResult, SideResult], limit_s: float) -> Comparison:
    """The comparison of both sides, whose times are both cut off at `limit_s` before they are subtracted."""
    first, second = sides
    pairs = list(match(first, second))
    differences: list[list[float]] = [[] for _ in first.samples.blocks]
    all_differences: list[float] = []
    for pair in pairs:
        if not math.isnan(pair.first) and not math.isnan(pair.second):
            difference = 1000 * (min(pair.second, limit_s) - min(pair.first, limit_s))
            differences[pair.block].append(difference)
            all_differences.append(difference)
    came = [(pair.first < math.inf, pair.second < math.inf) for pair in pairs]
    found = BlockTimes(differences)
    return Comparison(
        names=(first.samples.side, second.samples.side),
        pairs=found.count,
        blocks=len(differences),
        only_first=came.count((True, False)),
        only_second=came.count((False, True)),
        neither=came.count((False, False)),
        mean_ms=estimate_request_mean(differences),
        median_ms=found.quantile(0.5),
        limit_ms=None if math.isinf(limit_s) else round(1000 * limit_s, 3),
        first_faster=sum(difference > TIE_MS for difference in all_differences),
        ties=sum(abs(difference) <= TIE_MS for difference in all_differences),
        second_faster=sum(difference < -TIE_MS for difference in all_differences),
        accept_ms=level_differences(*(result.accept_ms for result in results)),
        time_to_result_ms=level_differences(*(result.time_to_result_ms for result in results)),
    )


def level_differences(first: TimeSummary, second: TimeSummary) -> dict[str, LevelDifference]:
    """The quantiles of both sides beside each other."""
    both = {level: (quantile, second.quantiles[level]) for level, quantile in first.quantiles.items()}
    return {level: subtract(*pair) for level, pair in {**both, "max": (first.max, second.max)}.items()}


def subtract(first: Quantile, second: Quantile) -> LevelDifference:
    """The difference and the ratio of two quantiles."""
    a, b = first.value, second.value
    known = a is not None and b is not None and not first.censored and not second.censored
    return LevelDifference(
        values=(None if a is None else round(a, 3), None if b is None else round(b, 3)),
        difference=round(b - a, 3) if known and a is not None and b is not None else None,
        ratio=round(b / a, 4) if known and a and b is not None else None,
    )
