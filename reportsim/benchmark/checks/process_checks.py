"""Whether the processes that measured had time to do so, and were left alone: H6, H8, H15."""

from typing import Final

from reportsim.benchmark.checks.model import Check, Conditions, Evidence, ServiceEvidence, Verdict
from reportsim.core.number_format import duration, percent

MACHINE: Final = "event loop lag p99 and processor time, worst block"
GARBAGE: Final = "garbage collection: share of the run, longest pause in ms"
PLUG: Final = "how often the plug was pulled"
LOOP_LAG_MS: Final = 5.0
GENERATOR_CPU: Final = 0.5
GC_SHARE: Final = 0.005
GC_MAX_MS: Final = 10.0


def check_machine(evidence: Evidence, seen: Conditions) -> Check:
    """H6: neither process was short of time. A busy generator falsifies; a busy server is part of what is measured."""
    ours = evidence.server is not None
    value = {
        **({"server_loop_lag_p99_ms": seen.server_loop_lag_p99_ms} if ours else {}),
        "generator_loop_lag_p99_ms": seen.generator_loop_lag_p99_ms,
        "generator_cpu_share": seen.generator_cpu_share,
        **({"server_cpu_share": seen.server_cpu_share} if ours else {}),
        "load_average": seen.load_average,
    }
    bounds = {
        "server_loop_lag_p99_ms": LOOP_LAG_MS,
        "generator_loop_lag_p99_ms": LOOP_LAG_MS,
        "generator_cpu_share": GENERATOR_CPU,
    }
    limit = {name: bounds.get(name) for name in value}
    over = {name for name, bound in limit.items() if bound is not None and (value[name] or 0.0) > bound}
    unknown = any(value[name] is None for name, bound in limit.items() if bound is not None)
    if over & {"generator_loop_lag_p99_ms", "generator_cpu_share"}:
        verdict, detail = Verdict.FAIL, "The generator was short of processor time."
    elif over:
        verdict, detail = Verdict.WARN, "The server's event loop was late, which is part of the times of both sides."
    elif unknown:
        verdict, detail = Verdict.WARN, "Not everything was measured."
    else:
        verdict, detail = Verdict.OK, f"{'Server and generator' if ours else 'The generator'} had time to spare."
    return Check("H6", MACHINE, value, limit, verdict, detail)


def check_garbage_collection(evidence: Evidence, seen: Conditions) -> Check:
    """H8: garbage collection took no noticeable share of the run, and no long pause."""
    run_ms = 1000 * seen.elapsed_s
    share = seen.gc_pause_sum_ms / run_ms if run_ms else 0.0
    verdict = Verdict.OK
    if seen.gc_pause_max_ms >= GC_MAX_MS:
        verdict = Verdict.WARN
    if share >= GC_SHARE:
        verdict = Verdict.FAIL
    return Check(
        "H8",
        GARBAGE,
        {"share": round(share, 6), "max_ms": round(seen.gc_pause_max_ms, 3)},
        {"share": GC_SHARE, "max_ms": GC_MAX_MS},
        verdict,
        f"{percent(share)} of the run, at most {duration(seen.gc_pause_max_ms / 1000)} at a time.",
    )


def check_plug(evidence: Evidence, server: ServiceEvidence) -> Check:
    """H15: nobody pulled the plug to see what happens, which makes the run a demonstration."""
    pulled = evidence.conditions is not None and evidence.conditions.plug_pulled
    detail = "The plug was pulled: this run is a demonstration." if pulled else "The plug was not pulled."
    return Check("H15", PLUG, int(pulled), 0, Verdict.FAIL if pulled else Verdict.OK, detail)
