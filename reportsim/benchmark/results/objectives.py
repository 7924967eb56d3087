"""Service-level objectives: what must hold, and whether it did."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.workload import Workload

OPERATORS: Final = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}


@dataclass(frozen=True, slots=True)
class Objective:
    """A bound on one number of a side's result, named by its path, like `time_to_result_ms.p95` or `outcomes.shed`."""

    metric: str
    op: str
    value: float

    def verdict(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Whether a side's result meets it; a number that is not there, or only a lower bound, meets nothing."""
        measured = find(result, self.metric)
        passed = measured is not None and bool(OPERATORS[self.op](measured, self.value))
        return {"metric": self.metric, "op": self.op, "value": self.value, "measured": measured, "pass": passed}


def find(result: Mapping[str, Any], path: str) -> float | None:
    """The number at a path; percentiles stand for their value."""
    found = find_value(result, path)
    if isinstance(found, Mapping):
        found = None if found.get("censored") else found.get("value")
    return None if found is None else float(found)


def find_value(result: Mapping[str, Any], path: str) -> Any:
    """What is at a path; None where there is nothing."""
    found: Any = result
    for name in path.split("."):
        found = found[name] if isinstance(found, Mapping) and name in found else None
    return found


def objectives(plan: Workload) -> tuple[Objective, ...]:
    """The objectives of a plan: 95 % of results within the SLO, and a result for every request."""
    return (
        Objective("time_to_result_ms.p95", "<=", 1000 * plan.slo_s),
        *(Objective(f"outcomes.{outcome.label}", "<=", 0) for outcome in Outcome if outcome > Outcome.OK_LATE),
    )


def judge(result: Mapping[str, Any], wanted: Iterable[Objective]) -> dict[str, Any]:
    """All objectives of one side, and whether it met every one."""
    verdicts = [objective.verdict(result) for objective in wanted]
    return {"pass": all(verdict["pass"] for verdict in verdicts), "objectives": verdicts}
