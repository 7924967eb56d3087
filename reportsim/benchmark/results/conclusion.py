"""A finished run in one sentence, made from its data; and the whole result."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from reportsim.benchmark.checks.model import Check, Conditions, Evidence
from reportsim.benchmark.checks.registry import audit, failed
from reportsim.benchmark.load.arrivals import Schedule
from reportsim.benchmark.plan import Cancel, Plan
from reportsim.benchmark.report.number_format import duration, percent, three
from reportsim.benchmark.results.objectives import judge, objectives
from reportsim.benchmark.results.paired_comparison import compare
from reportsim.benchmark.results.samples import Integrals, Outcome, Samples
from reportsim.benchmark.results.summary import side_result
from reportsim.benchmark.results.trace_simulation import conditional, measured, residuals
from reportsim.core.model import Mode

Json = dict[str, Any]
ERRORS: Final = tuple(
    outcome.label for outcome in (Outcome.REFUSED, Outcome.SHED, Outcome.HTTP_4XX, Outcome.HTTP_5XX, Outcome.JOB_FAILED)
)


def conclude(
    plan: Plan,
    schedule: Schedule,
    prediction: Json,
    samples: Mapping[Mode, Samples],
    integrals: Mapping[Mode, Integrals],
    conditions: Conditions,
) -> Json:
    """The `result` of the API: both sides, their comparison, theory, objectives, checks, and the verdict."""
    results = {mode: side_result(samples[mode], plan, integrals[mode]) for mode in Mode}
    comparison = compare(plan, samples[Mode.SYNC], samples[Mode.ASYNC], (results[Mode.SYNC], results[Mode.ASYNC]))
    theory = {
        str(mode): residuals(
            prediction[mode],
            conditional(plan, samples[mode], schedule),
            measured(plan, samples[mode], integrals[mode]),
        )
        for mode in Mode
    }
    checks = audit(
        Evidence(
            plan=plan,
            schedule=schedule,
            samples=samples,
            integrals=integrals,
            results=results,
            comparison=comparison,
            theory=theory,
            conditions=conditions,
        )
    )
    wanted = objectives(plan)
    return {
        **{str(mode): results[mode] for mode in Mode},
        "comparison": comparison,
        "theory": theory,
        "slo": {str(mode): judge(results[mode], wanted) for mode in Mode},
        "checks": [check.as_json() for check in checks],
        "trusted": not any(failed(checks)),
        "verdict": verdict(plan, results, comparison, failed(checks)),
    }


def verdict(plan: Plan, results: Mapping[Mode, Json], comparison: Json, broken: Iterable[Check]) -> str:
    """What the run shows, most important first: whether to trust it, the times, what was lost, who was free when."""
    said = [times(plan, results, comparison), losses(plan, results), waits(results)]
    if names := [f"{check.id} ({check.name})" for check in broken]:
        said.insert(0, f"Do not trust this run: {', '.join(names)} failed.")
    return " ".join(sentence for sentence in said if sentence)


def times(plan: Plan, results: Mapping[Mode, Json], comparison: Json) -> str:
    """How the times to result compare, over the requests whose result came on both sides."""
    mean, pairs = comparison["difference_ms"]["mean"], comparison["pairs"]
    if mean["low"] is None:
        return "Too few requests had their result on both sides to compare the time to result."
    low, high = (mean[end] / 1000 for end in ("low", "high"))
    over = f"over the {pairs:,} requests answered on both sides"
    if low <= 0 <= high:
        return f"No difference in time to result: async − sync is {signed(low)} to {signed(high)} {over}."
    ends = sorted((abs(low), abs(high)))
    said = (
        f"Results came {duration(abs(mean['value']) / 1000)} later by {'async' if low > 0 else 'sync'} in the mean "
        f"({duration(ends[0])} to {duration(ends[1])}), {over}"
    )
    middle = results[Mode.SYNC]["time_to_result_ms"]["p50"]
    if middle["value"] and not middle["censored"]:
        said += f": {percent(abs(mean['value']) / middle['value'])} of the median sync time"
    if low > 0 and plan.cancel is not Cancel.NONE and results[Mode.SYNC]["outcomes"]["client_timeout"]:
        said += ". The sync server had dropped work for clients that left, which made room for the others"
    return f"{said}."


def signed(seconds: float) -> str:
    """A duration with its sign, 0 without one."""
    return "0" if abs(seconds) < 5e-7 else f"{'−' if seconds < 0 else '+'}{duration(abs(seconds))}"


def losses(plan: Plan, results: Mapping[Mode, Json]) -> str:
    """Who did not get a result, or got it late."""
    sync, other = results[Mode.SYNC], results[Mode.ASYNC]
    timeouts, lost = share(sync, "client_timeout"), share(other, "callback_lost")
    late = share(other, "ok_late")
    if timeouts and plan.client_timeout_s is not None:
        first = (
            f"{percent(timeouts)} of sync clients gave up after {duration(plan.client_timeout_s)}, "
            f"and {percent(sync['wasted_share'])} of the worker time went to them"
        )
    else:
        first = "No sync client gave up"
    if failures := share(sync, *ERRORS):
        first += f", and {percent(failures)} got an error" if timeouts else f", but {percent(failures)} got an error"
    missing = [f"lost {percent(lost)} of its callbacks"] if lost else []
    if failures := share(other, *ERRORS):
        missing.append(f"answered {percent(failures)} of its requests with an error")
    second = f"async {' and '.join(missing) or 'lost nothing'}"
    if late:
        second += (
            f", {'and' if missing else 'but'} {percent(late)} of its results came later than {duration(plan.slo_s)}"
        )
    return f"{first}; {second}."


def share(result: Json, *outcomes: str) -> float:
    """The share of some outcomes among all that were offered."""
    found = sum(result["outcomes"][outcome] for outcome in outcomes)
    return float(found / result["offered"]) if result["offered"] else 0.0


def waits(results: Mapping[Mode, Json]) -> str:
    """When clients were free again, and what they held until then."""
    sync, other = results[Mode.SYNC], results[Mode.ASYNC]
    first, second = (side["accept_ms"]["p50"] for side in (sync, other))
    held = " connections open against ".join(three(side["open_connections"]["mean"]) for side in (sync, other))
    if first["value"] is None or second["value"] is None:
        return f"On average sync held {held}."
    free = [f"{'at least ' if each['censored'] else ''}{duration(each['value'] / 1000)}" for each in (first, second)]
    return (
        f"Half of the async clients were free after {free[1]}, of the sync clients after {free[0]}, "
        f"which held {held} on average."
    )
