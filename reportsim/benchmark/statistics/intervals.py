"""Estimates with 95 % intervals whose units of sampling are the blocks of a run, not its requests.

Requests of one busy period depend on each other, so intervals that treat requests as independent are far too narrow on
a loaded queue. Blocks start and end empty and draw their own arrivals, so they are independent: every interval here is
that of a ratio estimator under cluster sampling, with Student's t on blocks − 1 degrees of freedom (W. G. Cochran,
Sampling Techniques, 1977, ch. 6 and 9A). Quantiles: R. S. Woodruff, JASA 47 (1952); C.-E. Särndal et al., Model
Assisted Survey Sampling (1992), 5.11. Shares: E. L. Korn and B. I. Graubard, Survey Methodology 24 (1998).
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from reportsim.benchmark.statistics.distributions import clopper_pearson, student_t
from reportsim.benchmark.statistics.percentile_levels import rank

FEWEST_BLOCKS: Final = 4
"""Below this many blocks no interval is given."""
FEWEST_EVENT_BLOCKS: Final = 3
"""With fewer blocks than these that have an event, its share has no lower bound but 0."""
# A share between both may be few or many: its interval says nothing.
FEW: Final = 0.05
MANY: Final = 0.4


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval; an end that the data cannot bound is None."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is known to lie wholly above or wholly below 0."""
        return (self.low is not None and self.low > 0) or (self.high is not None and self.high < 0)

    def as_json(self, digits: int = 3) -> dict[str, Any]:
        """The three numbers, rounded."""
        return {
            name: None if value is None else round(value, digits)
            for name, value in (("value", self.value), ("low", self.low), ("high", self.high))
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile(Estimate):
    """An estimate of a quantile over `n` observations."""

    n: int
    censored: bool = False
    """The value is a lower bound: the quantile lies among observations that were cut off."""

    def as_json(self, digits: int = 3) -> dict[str, Any]:
        """The estimate, the number of observations and whether it is censored."""
        # dataclass(slots=True) makes a new class, which a bare super() does not know.
        return {**Estimate.as_json(self, digits), "n": self.n, "censored": self.censored}


def ratio_error(numerators: Sequence[float], denominators: Sequence[float], ratio: float) -> float:
    """The standard error of Σ numerators / Σ denominators, both given per block."""
    count, total = len(numerators), math.fsum(denominators)
    squares = math.fsum((a - ratio * b) ** 2 for a, b in zip(numerators, denominators, strict=True))
    return math.sqrt(count / (count - 1) * squares) / total


def estimate_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Σ numerators / Σ denominators over the blocks: a mean per request, or a share of some total."""
    total = math.fsum(denominators)
    if not total:
        return Estimate(None)
    ratio = math.fsum(numerators) / total
    if len(numerators) < FEWEST_BLOCKS:
        return Estimate(ratio)
    reach = student_t(len(numerators) - 1) * ratio_error(numerators, denominators, ratio)
    return Estimate(ratio, ratio - reach, ratio + reach)


def estimate_mean(values: Sequence[float]) -> Estimate:
    """The mean of one value per block."""
    return estimate_ratio(values, [1.0] * len(values))


def estimate_request_mean(blocks: Sequence[Sequence[float]]) -> Estimate:
    """The mean over all observations, which are given per block."""
    return estimate_ratio([math.fsum(block) for block in blocks], [float(len(block)) for block in blocks])


def estimate_share(events: Sequence[int], counts: Sequence[int]) -> Estimate:
    """The share of events among all observations, both counted per block; also where none was seen, or nothing else.

    The Clopper-Pearson interval for the effective number of observations. Where fewer than half of the blocks have an
    event, chance moves whole blocks: the upper end is then at least that of the share of blocks.
    """
    total, seen = sum(counts), sum(events)
    if not total:
        return Estimate(None)
    if len(counts) < FEWEST_BLOCKS:
        return Estimate(seen / total)
    if 2 * seen > total:
        rest = estimate_share([count - event for event, count in zip(events, counts, strict=True)], counts)
        assert rest.low is not None
        assert rest.high is not None
        return Estimate(seen / total, 1 - rest.high, 1 - rest.low)
    effective = effective_count(events, counts) if seen else float(total)
    low, high = clopper_pearson(effective * seen / total, effective)
    having = sum(event > 0 for event in events)
    if 2 * having < len(counts):
        high = max(high, clopper_pearson(having, len(counts))[1])
    return Estimate(seen / total, 0.0 if having < FEWEST_EVENT_BLOCKS else low, high)


def is_vague(share: Estimate) -> bool:
    """Whether the interval of a share reaches from few to many."""
    return share.low is not None and share.high is not None and share.low < FEW and share.high > MANY


def count_needed_blocks(events: Sequence[int], counts: Sequence[int], most: int) -> int | None:
    """How many blocks like these give a share an interval that is not vague; None if more than `most`."""
    blocks = len(counts)
    for repeats in range(1, most // blocks + 1):
        if not is_vague(estimate_share([*events] * repeats, [*counts] * repeats)):
            return blocks * repeats
    return None


def effective_count(events: Sequence[int], counts: Sequence[int]) -> float:
    """How many independent observations would tell as much of the share as these, whose blocks vary as they do."""
    total = sum(counts)
    share = sum(events) / total
    error = ratio_error(events, counts, share)
    independent = total if error == 0 else min(share * (1 - share) / error**2, total)
    few_blocks: float = (student_t(max(total - 1, 1)) / student_t(degrees(events, counts))) ** 2
    return max(independent * min(few_blocks, 1.0), 1.0)


def degrees(events: Sequence[int], counts: Sequence[int]) -> int:
    """Degrees of freedom of a share: only blocks that have an event, or anything else, tell how much blocks vary.

    The rule for domains of a cluster sample (E. L. Korn and B. I. Graubard, Analysis of Health Surveys, 1999, 5.2).
    """
    having = sum(event > 0 for event in events)
    lacking = sum(event < count for event, count in zip(events, counts, strict=True))
    return max(min(having, lacking), 2) - 1


class BlockTimes:
    """Times per block, of which some are infinite: the result did not come within the time-out."""

    def __init__(self, blocks: Sequence[Sequence[float]], cut_off: float | None = None) -> None:
        """Sorts the times; infinite ones are known to be at least `cut_off`, by default the longest finite one."""
        self._blocks = [sorted(block) for block in blocks]
        self._ordered = sorted(time for block in self._blocks for time in block)
        self._finite = bisect_right(self._ordered, math.nextafter(math.inf, 0))
        longest = self._ordered[self._finite - 1] if self._finite else 0.0
        self._cut_off = longest if cut_off is None else max(cut_off, longest)

    @property
    def count(self) -> int:
        """The number of times, infinite ones included."""
        return len(self._ordered)

    def quantile(self, share: float) -> Quantile:
        """Woodruff's interval: bounds for the distribution function at the quantile, turned back into ranks.

        Its standard error is at least that of independent observations.
        """
        count, blocks = self.count, len(self._blocks)
        if not count:
            return Quantile(None, n=0)
        at = rank(count, share)
        censored = at > self._finite
        value = self._cut_off if censored else self._ordered[at - 1]
        if blocks < FEWEST_BLOCKS:
            return Quantile(value, n=count, censored=censored)
        below = [bisect_right(block, self._ordered[at - 1]) for block in self._blocks]
        counts = [len(block) for block in self._blocks]
        error = ratio_error(below, counts, sum(below) / count)
        reach = student_t(degrees(below, counts)) * max(error, math.sqrt(share * (1 - share) / count))
        low = self._at_rank(math.floor(count * (share - reach)), self._cut_off)
        high = self._at_rank(math.ceil(count * (share + reach)), None)
        return Quantile(value, low, high, n=count, censored=censored)

    def _at_rank(self, at: int, beyond: float | None) -> float | None:
        """The time at a rank, counted from 1; None below it, and `beyond` among those that were cut off."""
        if at < 1:
            return None
        return self._ordered[at - 1] if at <= self._finite else beyond

    def maximum(self) -> Quantile:
        """The largest time, which has no interval."""
        if not self.count:
            return Quantile(None, n=0)
        censored = self._finite < self.count
        return Quantile(self._cut_off if censored else self._ordered[-1], n=self.count, censored=censored)

    def mean(self, limit: float = math.inf) -> Estimate:
        """The mean of the times, each of them at most `limit`."""
        bound = min(limit, self._cut_off) if self._finite < self.count else limit
        return estimate_request_mean([[min(time, bound) for time in block] for block in self._blocks])
