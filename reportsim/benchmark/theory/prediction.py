"""What to expect of a plan: a theory that fits it, the bands of simulated runs, and a sentence."""

import math
from typing import Any, Final

from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.theory.erlang import allen_cunneen, mmc
from reportsim.benchmark.theory.finite_and_abandonment import fixed_patience
from reportsim.benchmark.theory.model_result import Theory
from reportsim.benchmark.theory.replications import Band, bands, how_many
from reportsim.benchmark.theory.transient import MOST_WORK, Fluid, relaxation_time, run_from_empty, work
from reportsim.benchmark.workload import Arrivals
from reportsim.core.model import Mode
from reportsim.core.number_format import duration, percent

# A run that is this many relaxation times long is mostly in its steady state.
SETTLED: Final = 5.0
SIMULATION: Final = "event simulation"
Json = dict[str, Any]


def predict(plan: Plan, replications: int | None = None) -> Json:
    """The `prediction` of the API: `sync` and `async` with a theory, where one fits, and bands; times in ms.

    Takes a second or two of computing; deterministic.
    """
    times = replications or how_many(plan.expected_count)
    expected = bands(plan, times)
    theories = {mode: choose(plan, mode) for mode in Mode}
    shown = theories[plan.sides[0].mode]
    return {
        "model": SIMULATION if shown is None else shown.model,
        "rho": plan.rho,
        "relaxation_s": finite(relaxation(plan)),
        "replications": times,
        "sentence": sentence(plan, expected),
        **{each.name: side(plan, each.mode, theories[each.mode], expected[each.mode]) for each in plan.sides},
    }


def side(plan: Plan, mode: Mode, theory: Theory | None, expected: dict[str, Band]) -> Json:
    """One side's theory and bands; percentiles of the bands stand in `time_to_result_ms`."""
    flat = {name: value.as_json() for name, value in expected.items()}
    levels = {name.partition(".")[2]: flat.pop(name) for name in list(flat) if "." in name}
    return {
        "theory": None if theory is None else in_milliseconds(theory, plan.timeout_of(mode)),
        **flat,
        "time_to_result_ms": levels,
    }


def in_milliseconds(theory: Theory, timeout_s: float) -> Json:
    """A theory's answers, times in milliseconds; clients that left the queue count as timed out."""
    answers = theory.as_json(None if math.isinf(timeout_s) else timeout_s)
    if answers["p_timeout"] is not None:
        answers["p_timeout"] += answers["p_abandon"] or 0.0
    times = ("mean_wait", "mean_sojourn", "p50", "p95", "p99")
    shown = {name: value for name, value in answers.items() if name not in times}
    for name in times:
        shown[f"{name}_ms"] = None if answers[name] is None else 1000 * answers[name]
    return shown


def relaxation(plan: Plan) -> float:
    """The relaxation time of a plan in seconds; infinite in overload, which nothing ever settles."""
    mean_s = plan.service.mean_s
    if not mean_s:
        return 0.0
    return relaxation_time(plan.rate, mean_s, plan.workers) if plan.rho < 1 else math.inf


def choose(plan: Plan, mode: Mode) -> Theory | None:
    """The theory that fits one side of a plan; None where only the event simulation does."""
    service, rate, workers = plan.service, plan.rate, plan.workers
    settled = plan.block_s >= SETTLED * relaxation(plan)
    timeout = plan.timeout_of(mode)
    cancel = Cancel.NONE if math.isinf(timeout) else plan.cancel_of(mode)
    if not service.mean_s or plan.arrivals not in {Arrivals.POISSON, Arrivals.CONSTANT}:
        return None
    poisson = plan.arrivals is Arrivals.POISSON
    if not (poisson and service.exponential):
        fits = cancel is Cancel.NONE and settled
        return allen_cunneen(rate, service, workers, 1.0 if poisson else 0.0) if fits else None
    if cancel is Cancel.QUEUED:
        settled = plan.block_s >= SETTLED * filling(plan, timeout)
        return fixed_patience(rate, service.mean_s, workers, timeout) if settled else None
    return from_empty_or_steady(plan, settled) if cancel is Cancel.NONE else None


def filling(plan: Plan, patience_s: float) -> float:
    """About the seconds in which a queue that patience bounds comes to its steady state, at most by diffusion."""
    diffusion = plan.workers / plan.service.mean_s * patience_s**2 / 2
    drift = relaxation(plan) if plan.rho < 1 else patience_s / max(plan.rho - 1, 1e-9)
    return min(diffusion, drift) + patience_s + plan.service.mean_s


def from_empty_or_steady(plan: Plan, settled: bool) -> Theory | None:
    """M/M/c as a run of this length sees it."""
    rate, mean_s, workers = plan.rate, plan.service.mean_s, plan.workers
    if settled:
        return mmc(rate, mean_s, workers)
    if work(rate, mean_s, workers, plan.block_s) <= MOST_WORK:
        return run_from_empty(rate, mean_s, workers, plan.block_s)
    if plan.rho > 1:
        return Fluid(rate=rate, mean_s=mean_s, workers=workers, duration_s=plan.block_s).theory()
    return None


def sentence(plan: Plan, expected: dict[Mode, dict[str, Band]]) -> str:
    """What a run of the plan will show, in one sentence."""
    if not plan.service.mean_s:
        return "No service time is planned: what the reports take themselves is known only after the run."
    modes = {each.mode for each in plan.sides}
    parts = []
    if Mode.SYNC in modes:
        parts.append(timeouts(plan, expected[Mode.SYNC]["timeout_share"]))
    if Mode.ASYNC in modes:
        parts.append(f"async will lose none, and {late_results(plan, expected[Mode.ASYNC]['late_share'])}")
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def late_results(plan: Plan, share: Band) -> str:
    """How many async results will be late."""
    after = f"come later than {duration(plan.slo_s)}"
    if share.low == 1:
        return f"all of its results will {after}"
    return f"about {percent(share.value)} of its results will {after}" if share.value else f"none will {after}"


def timeouts(plan: Plan, share: Band) -> str:
    """How many sync clients will time out."""
    if plan.client_timeout_s is None:
        return "No sync client will time out, since none has a time-out"
    if not share.high:
        return "No sync client will time out"
    if share.low == 1:
        return "Every sync client will time out"
    if not share.value:
        return f"Most likely no sync client will time out, at most {percent(share.high)} {of_this_length(plan)}"
    span = f"{percent(share.low).removesuffix(' %')} to {percent(share.high)}"
    return f"About {percent(share.value)} of sync clients will time out, {span} {of_this_length(plan)}"


def of_this_length(plan: Plan) -> str:
    """For which length of time that holds: a block begins without a queue, which takes many time-outs to form."""
    return "in a run this short" if plan.blocks == 1 else f"in blocks of {duration(plan.block_s)}, which begin idle"


def finite(value: float) -> float | None:
    """A number as JSON has it: no infinity."""
    return value if math.isfinite(value) else None
