"""Whether the load was what it was meant to be: H1, H2."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from reportsim.benchmark.checks.model import Check, Evidence, Verdict
from reportsim.benchmark.design import Design
from reportsim.benchmark.results.samples import Samples
from reportsim.core.number_format import duration

# Of each level of the lag: the least limit in milliseconds, and the share of the same level of the time to result.
LAG_LIMITS: Final = {"p99": (5.0, 0.01), "p99_9": (10.0, 0.02), "max": (50.0, 0.05)}
# Kolmogorov's distance at the 1 % level is this over √n.
KOLMOGOROV: Final = 1.628


def check_schedule_lag(evidence: Evidence) -> Check:
    """H1: requests went out when they were due, at each level that is printed. A late generator measures itself."""
    name = "schedule lag, ms"
    sides = evidence.analysis.sides.values()
    limits = {level: lag_limit(evidence, level) for level in LAG_LIMITS}
    worst: dict[str, float | None] = {}
    for level in LAG_LIMITS:
        lags = [lag for result in sides if (lag := result.sched_lag_ms[level]) is not None]
        worst[level] = max(lags, default=None)
    if not any(sum(result.outcomes.values()) for result in sides):
        return Check("H1", name, worst, limits, Verdict.NOT_RUN, "No request was offered.")
    if worst["max"] is None:
        server = evidence.server is not None
        verdict = Verdict.FAIL if server else Verdict.NOT_RUN
        return Check("H1", name, worst, limits, verdict, "Nothing was sent." if server else "sent_s is not known.")
    over = [level for level, lag in worst.items() if lag is not None and lag > limits[level]]
    detail = f"99 % of requests were sent at most {duration((worst['p99'] or 0) / 1000)} late, "
    detail += f"all at most {duration(worst['max'] / 1000)}."
    if over:
        detail += " The generator limited the measurement, not the server."
    return Check("H1", name, worst, limits, Verdict.FAIL if over else Verdict.OK, detail)


def lag_limit(evidence: Evidence, level: str) -> float:
    """How late requests may be sent at a level, in milliseconds."""
    least, share = LAG_LIMITS[level]
    found = [
        result.time_to_result_ms.max if level == "max" else result.time_to_result_ms.quantiles[level]
        for result in evidence.analysis.sides.values()
    ]
    shortest = min((quantile.value for quantile in found if quantile.value is not None), default=0.0)
    return round(max(least, share * shortest), 3)


def check_arrivals(evidence: Evidence) -> Check:
    """H2: everything planned was sent, and what was sent is a Poisson process where that was planned."""
    design = evidence.analysis.design
    missing = sum(result.offered - result.sent for result in evidence.analysis.sides.values())
    name = "requests not sent; distance of the gaps between them from the exponential distribution"
    if missing == sum(result.offered for result in evidence.analysis.sides.values()) and evidence.server is None:
        return Check("H2", name, None, None, Verdict.NOT_RUN, "sent_s is not known.")
    distance = limit = None
    if design.poisson_rate is not None:
        gaps = [gaps_of(samples, design) for samples in evidence.samples.values()]
        limit = round(KOLMOGOROV / math.sqrt(max(min(map(len, gaps)), 1)), 6)
        distance = round(max(kolmogorov(each, design.poisson_rate) for each in gaps), 6)
    odd = distance is not None and limit is not None and distance > limit
    verdict = Verdict.WARN if odd else Verdict.OK
    detail = f"{missing:,} requests were never sent." if missing else "Every request was sent."
    if distance is not None:
        detail += f" The gaps are {'not ' if odd else ''}those of a Poisson process of {design.poisson_rate:g}/s."
    return Check(
        "H2",
        name,
        {"not_sent": missing, "distance": distance},
        {"not_sent": 0, "distance": limit},
        Verdict.FAIL if missing else verdict,
        detail,
    )


def gaps_of(samples: Samples, design: Design) -> list[float]:
    """The times between requests as they were sent, with the windows of all blocks one after the other.

    A Poisson process that is cut into windows and put together again still is one.
    """
    moments = [0.0]
    for number, block in enumerate(samples.blocks):
        sent = samples.sent[block.start : block.stop]
        moments += [number * design.block_s + moment for moment in sent if not math.isnan(moment)]
    return [later - earlier for earlier, later in pairwise(sorted(moments))]


def kolmogorov(gaps: Sequence[float], rate: float) -> float:
    """The largest distance between the distribution of some gaps and the exponential one of this rate."""
    ordered, count = sorted(gaps), len(gaps)
    return max(
        (
            max((number + 1) / count - below, below - number / count)
            for number, below in enumerate(-math.expm1(-rate * gap) for gap in ordered)
        ),
        default=0.0,
    )
