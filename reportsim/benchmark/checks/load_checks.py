"""Whether the load was what it was meant to be: H1, H2, H6, H7, H8, H13."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from reportsim.benchmark.checks.model import Check, Evidence, Verdict
from reportsim.benchmark.plan import Arrivals
from reportsim.benchmark.report.number_format import duration, percent
from reportsim.core.model import Mode

LAG_MS: Final = 5.0
LAG_SHARE: Final = 0.01
# Kolmogorov's distance at the 1 % level is this over √n.
KOLMOGOROV: Final = 1.628
LOOP_LAG_MS: Final = 5.0
GENERATOR_CPU: Final = 0.5
GC_SHARE: Final = 0.005
GC_MAX_MS: Final = 10.0
FREEZE_MS: Final = 5.0


def schedule_lag(evidence: Evidence) -> Check:
    """H1: requests went out when they were due. A late generator measures itself."""
    lags = [evidence.results[mode]["sched_lag_ms"]["p99"] for mode in Mode]
    middles = [evidence.results[mode]["time_to_result_ms"]["p50"]["value"] for mode in Mode]
    limit = max(LAG_MS, LAG_SHARE * min((middle for middle in middles if middle is not None), default=0.0))
    if None in lags:
        return Check("H1", "schedule lag p99, ms", None, limit, Verdict.FAIL, "Nothing was sent.")
    worst = max(lags)
    good = worst <= limit
    detail = f"99 % of requests were sent at most {duration(worst / 1000)} late."
    if not good:
        detail += " The generator was the limit, not the server."
    return Check("H1", "schedule lag p99, ms", worst, round(limit, 3), Verdict.OK if good else Verdict.FAIL, detail)


def arrivals(evidence: Evidence) -> Check:
    """H2: everything planned was sent, and Poisson arrivals look like it."""
    plan = evidence.plan
    missing = sum(result["offered"] - result["sent"] for result in evidence.results.values())
    distance = limit = None
    if plan.arrivals is Arrivals.POISSON:
        gaps = [gap for half in plan.halves for gap in gaps_of(evidence.schedule.intended[half.start : half.stop])]
        distance = round(kolmogorov(gaps, plan.rate), 6)
        limit = round(KOLMOGOROV / math.sqrt(max(len(gaps), 1)), 6)
    odd = distance is not None and limit is not None and distance > limit
    verdict = Verdict.FAIL if missing else Verdict.WARN if odd else Verdict.OK
    detail = f"{missing:,} requests were never sent." if missing else "Every request was sent."
    if distance is not None:
        detail += f" The gaps are {'not ' if odd else ''}what chance makes of {plan.rate:g} arrivals a second."
    return Check(
        "H2",
        "requests not sent; distance of the gaps from the exponential distribution",
        {"not_sent": missing, "distance": distance},
        {"not_sent": 0, "distance": limit},
        verdict,
        detail,
    )


def gaps_of(moments: Sequence[float]) -> list[float]:
    """The times between neighbours."""
    return [later - earlier for earlier, later in pairwise(moments)]


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


def machine(evidence: Evidence) -> Check:
    """H6: neither process was short of time. A busy generator falsifies; a busy server is part of what is measured."""
    seen = evidence.conditions
    value = {
        "server_loop_lag_p99_ms": seen.server_loop_lag_p99_ms,
        "generator_loop_lag_p99_ms": seen.generator_loop_lag_p99_ms,
        "generator_cpu_share": seen.generator_cpu_share,
        "server_cpu_share": seen.server_cpu_share,
        "load_average": seen.load_average,
    }
    limit = {
        "server_loop_lag_p99_ms": LOOP_LAG_MS,
        "generator_loop_lag_p99_ms": LOOP_LAG_MS,
        "generator_cpu_share": GENERATOR_CPU,
        "server_cpu_share": None,
        "load_average": None,
    }
    over = {name for name, bound in limit.items() if bound is not None and (value[name] or 0.0) > bound}
    unknown = any(value[name] is None for name, bound in limit.items() if bound is not None)
    if over & {"generator_loop_lag_p99_ms", "generator_cpu_share"}:
        verdict, detail = Verdict.FAIL, "The generator was short of time."
    elif over:
        verdict, detail = Verdict.WARN, "The server's event loop was late: both sides include that."
    elif unknown:
        verdict, detail = Verdict.WARN, "Not everything was measured."
    else:
        verdict, detail = Verdict.OK, "Server and generator had time to spare."
    return Check("H6", "loop lag p99 and processor time", value, limit, verdict, detail)


def client_pool(evidence: Evidence) -> Check:
    """H7: no request waited within the client for a connection, which the server would never have seen."""
    waits = evidence.conditions.pool_waits
    detail = f"{waits:,} requests waited for a connection." if waits else "No request waited for a connection."
    return Check("H7", "waits in the client's pool", waits, 0, Verdict.FAIL if waits else Verdict.OK, detail)


def garbage_collection(evidence: Evidence) -> Check:
    """H8: garbage collection took no share of the run worth mentioning, and no long pause."""
    seen = evidence.conditions
    run_ms = 1000 * sum(integrals.elapsed_s for integrals in evidence.integrals.values())
    share = seen.gc_pause_sum_ms / run_ms if run_ms else 0.0
    verdict = Verdict.OK
    if seen.gc_pause_max_ms >= GC_MAX_MS:
        verdict = Verdict.WARN
    if share >= GC_SHARE:
        verdict = Verdict.FAIL
    return Check(
        "H8",
        "garbage collection: share of the run, longest pause in ms",
        {"share": round(share, 6), "max_ms": round(seen.gc_pause_max_ms, 3)},
        {"share": GC_SHARE, "max_ms": GC_MAX_MS},
        verdict,
        f"{percent(share)} of the run, at most {duration(seen.gc_pause_max_ms / 1000)} at a time.",
    )


def freeze(evidence: Evidence) -> Check:
    """H13: a frozen server shows in the percentiles as computed by hand. A test of the instrument, run on demand."""
    error = evidence.conditions.freeze_error_ms
    name = "self-test: error of the percentiles under a freeze, ms"
    if error is None:
        return Check("H13", name, None, FREEZE_MS, Verdict.OK, "On demand; not part of this run.")
    good = error <= FREEZE_MS
    detail = f"Percentiles were {duration(error / 1000)} off what they are by hand."
    return Check("H13", name, round(error, 3), FREEZE_MS, Verdict.OK if good else Verdict.FAIL, detail)
