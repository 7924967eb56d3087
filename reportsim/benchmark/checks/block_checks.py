"""Whether the blocks of a run are replications of each other: H10, H11, H14."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

from reportsim.benchmark.checks.model import Check, Evidence, Verdict
from reportsim.benchmark.results.side_samples import Side, shortest_cut_off
from reportsim.benchmark.statistics.distributions import student_t
from reportsim.benchmark.statistics.intervals import FEWEST_BLOCKS
from reportsim.core.number_format import duration

# Each of these checks warns in 1 of 100 runs in which nothing is wrong.
TAIL: Final = 0.005


def check_sample_size(evidence: Evidence) -> Check:
    """H10: the intervals have both ends. A tail that too few blocks reach has no upper one."""
    blocks = evidence.analysis.design.blocks
    value: dict[str, Any] = {"blocks": blocks}
    open_ended: list[str] = []
    for name, result in evidence.analysis.sides.items():
        quantiles = result.time_to_result_ms.quantiles
        value[name] = [level for level, found in quantiles.items() if found.high is None]
        open_ended += [f"{name} {level.replace('_', '.')}" for level in value[name]]
    if blocks < FEWEST_BLOCKS:
        detail = f"{blocks} block pairs are too few for an interval, which takes at least {FEWEST_BLOCKS}."
        return Check("H10", "block pairs, and levels without an upper bound", value, None, Verdict.WARN, detail)
    if open_ended:
        verdict, detail = Verdict.INFO, f"The run is too short for an upper bound of {', '.join(open_ended)}."
    else:
        verdict, detail = Verdict.OK, "Every interval has both ends."
    return Check("H10", "block pairs, and levels without an upper bound", value, None, verdict, detail)


def check_stationarity(evidence: Evidence) -> Check:
    """H11: the second half of the blocks is like the first. In overload times depend on the length of a block."""
    name = "mean time to result in the first and second half of the blocks, ms"
    design = evidence.analysis.design
    value: dict[str, Any] = {}
    moved = False
    for side, means in block_means(evidence).items():
        half = len(means) // 2
        early, late = known(means[:half]), known(means[-half:] if half else [])
        value[side] = [round(statistics.fmean(part), 3) if part else None for part in (early, late)]
        moved |= differ(early, late, TAIL / 2)
    if moved:
        return Check("H11", name, value, None, Verdict.WARN, "Times changed between the first half and the second.")
    if design.blocks < FEWEST_BLOCKS:
        return Check("H11", name, value, None, Verdict.NOT_RUN, "There are too few blocks to compare.")
    if design.rho is not None and design.rho >= 1:
        detail = f"Overload (ρ = {design.rho:.2f}): all times depend on the length of a block."
        return Check("H11", name, value, None, Verdict.INFO, detail)
    return Check("H11", name, value, None, Verdict.OK, "The first and the second half of the blocks are alike.")


def check_order(evidence: Evidence) -> Check:
    """H14: a block that ran second in its pair is like one that ran first (A/A), once the sides are taken out."""
    name = "A/A: effect of running second in a pair, ms"
    first = evidence.analysis.design.second_side_first
    means = list(block_means(evidence).values())
    if first is None or len(means) != 2 or len(first) < FEWEST_BLOCKS:
        return Check("H14", name, None, None, Verdict.NOT_RUN, "The order of the blocks is not known, or they are few.")
    groups: dict[bool, list[float]] = {False: [], True: []}
    for swapped, a, b in zip(first, *means, strict=True):
        if not math.isnan(a) and not math.isnan(b):
            groups[swapped].append(a - b if swapped else b - a)
    if min(map(len, groups.values())) < 2:
        return Check("H14", name, None, None, Verdict.NOT_RUN, "Too few blocks have times on both sides.")
    # The difference of the sides has one sign in one group and the other in the other.
    effect = (statistics.fmean(groups[False]) + statistics.fmean(groups[True])) / 2
    error = math.sqrt(sum(statistics.variance(group) / len(group) for group in groups.values())) / 2
    reach = student_t(degrees_of(groups.values()), TAIL) * error
    odd = abs(effect) > reach
    detail = f"Running second {'changes' if odd else 'does not change'} times: {duration(abs(effect) / 1000)}, "
    detail += f"where chance explains up to {duration(reach / 1000)}."
    return Check("H14", name, round(effect, 3), round(reach, 3), Verdict.WARN if odd else Verdict.OK, detail)


def degrees_of(groups: Any) -> int:
    """The degrees of freedom of two groups whose spreads may differ, on the safe side: those of the smaller one."""
    return int(min(len(group) for group in groups)) - 1


def differ(first: Sequence[float], second: Sequence[float], tail: float) -> bool:
    """Whether two groups of block means differ by more than chance explains (B. L. Welch, on the safe side)."""
    if min(len(first), len(second)) < 2:
        return False
    error = math.sqrt(statistics.variance(first) / len(first) + statistics.variance(second) / len(second))
    reach = student_t(degrees_of((first, second)), tail) * error
    return abs(statistics.fmean(second) - statistics.fmean(first)) > reach


def known(values: Sequence[float]) -> list[float]:
    """What is not NaN."""
    return [value for value in values if not math.isnan(value)]


def block_means(evidence: Evidence) -> dict[str, list[float]]:
    """The mean time to result of each block in milliseconds, cut off as in the result; NaN where there is no time."""
    design = evidence.analysis.design
    sides = [Side(evidence.samples[side.name], design) for side in design.sides]
    limit_s = shortest_cut_off(sides)
    return {side.samples.side: [mean_ms(block, limit_s) for block in side.per_block(side.times)] for side in sides}


def mean_ms(times: Sequence[float], limit_s: float) -> float:
    """The mean of the times that are known."""
    cut = [min(time, limit_s) for time in times if not math.isnan(time)]
    return 1000 * statistics.fmean(cut) if cut else math.nan
