"""The result of a measurement: the same estimates, checks and verdict as a run of our own, as far as clients know."""

import re
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reportsim.benchmark.checks.model import Evidence
from reportsim.benchmark.checks.registry import is_trusted, run_checks
from reportsim.benchmark.results.analysis import Analysis, analyse
from reportsim.benchmark.results.objectives import OPERATORS, Objective, judge, objectives
from reportsim.benchmark.results.samples import Samples, nothing
from reportsim.benchmark.results.verdict import write_verdict
from reportsim.benchmark.statistics.intervals import estimate_request_mean
from reportsim.core.number_format import duration
from reportsim.measure.measurement import Measured
from reportsim.measure.plan import MeasurePlan

Json = dict[str, Any]
NOT_MEASURED: Final = ("queue", "busy_workers_mean", "wasted_share", "theory", "H3", "H4", "H9", "H12")
"""What only a server of our own could know."""
OBJECTIVE: Final = re.compile(r"\s*(sync|async)\.([\w.]+)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?)\s*")

Wanted = Mapping[str, Sequence[Objective]]
"""The objectives of each side."""


class ObjectiveError(ValueError):
    """A text is no objective."""


def parse_objectives(texts: Sequence[str], plan: MeasurePlan) -> Wanted:
    """The objectives that texts like `async.time_to_result_ms.p95 < 2000` stand for; without any, the usual ones.

    Raises:
        ObjectiveError: A text is no objective, or of a number that this measurement does not have.
    """
    found: dict[str, list[Objective]] = {side.name: [] for side in plan.sides}
    if not texts:
        return {name: objectives(plan) for name in found}
    known = analyse_samples(plan, [nothing_of(plan, name) for name in found]).as_json()
    for text in texts:
        matched = OBJECTIVE.fullmatch(text)
        if matched is None:
            forms = ", ".join(OPERATORS)
            raise ObjectiveError(f"{text!r} is not like 'async.time_to_result_ms.p95 < 2000' (operators: {forms})")
        name, metric, operator, value = matched.groups()
        if name not in found:
            raise ObjectiveError(f"{text!r}: the target has no side {name}")
        if not is_number_at(known[name], metric):
            raise ObjectiveError(f"{text!r}: there is no number {metric} in the result")
        found[name].append(Objective(metric, operator, float(value)))
    return found


def nothing_of(plan: MeasurePlan, name: str) -> Samples:
    """The samples of a side that was offered no request."""
    samples = Samples.empty(name, array("d"), (0,) * (plan.pairs + 1), recorded=False)
    samples.earliest = nothing(0) if plan.polled and name == "async" else None
    return samples


def is_number_at(result: Json, path: str) -> bool:
    """Whether a result has a number at a path, or an estimate of one."""
    found: Any = result
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return not isinstance(found, Mapping) or "value" in found


def analyse_samples(plan: MeasurePlan, samples: Sequence[Samples]) -> Analysis:
    """The estimates of some samples of a plan."""
    return analyse(plan.design, {side.side: side for side in samples})


def conclude(measured: Measured, wanted: Wanted) -> Json:
    """What `reportsim measure --json` prints."""
    samples = measured.samples
    analysis = analyse(measured.design, samples)
    checks = run_checks(Evidence(samples=samples, analysis=analysis, conditions=measured.conditions))
    shown = analysis.as_json()
    if "async" in shown:
        shown["async"]["results"] = measured.counts
    return {
        **shown,
        "plan": measured.parameters,
        "blocks": measured.blocks,
        "slo": {name: judge(shown[name], wanted[name]) for name in analysis.sides},
        "checks": [check.as_json() for check in checks],
        "trusted": is_trusted(checks),
        "not_measured": list(NOT_MEASURED),
        "interrupted": measured.interrupted,
        "verdict": " ".join([write_verdict(analysis), *describe_polling(samples), *describe_interruption(measured)]),
    }


def describe_polling(samples: Mapping[str, Samples]) -> list[str]:
    """How far the times of polled results are too long."""
    for side in samples.values():
        if side.earliest is not None:
            gaps = [
                result - earliest
                for index, (result, earliest) in enumerate(zip(side.result, side.earliest, strict=True))
                if side.resolved(index)
            ]
            mean = estimate_request_mean([gaps]).value
            if mean is not None:
                return [f"Async results were polled: each was there up to {duration(mean)} (mean) before it was seen."]
    return []


def describe_interruption(measured: Measured) -> list[str]:
    """What an interruption has cost."""
    if not measured.interrupted:
        return []
    left_out = f"{measured.left_out:,} requests that were sent are left out" if measured.left_out else "nothing is lost"
    return [f"The measurement was interrupted: {left_out}."]
