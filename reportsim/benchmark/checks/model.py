"""The input and the outcome of a check."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.analysis import Analysis
from reportsim.benchmark.results.samples import Integrals, Samples
from reportsim.benchmark.results.trace_simulation import Residual
from reportsim.benchmark.schedule import Schedule


class Verdict(StrEnum):
    """The outcome of a check; a failed one forbids to trust the result."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    INFO = "info"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a run; `value` and `limit` have the same shape, None where there is none."""

    id: str
    name: str
    value: Any
    limit: Any
    verdict: Verdict
    detail: str
    """A sentence for readers."""

    def as_json(self) -> dict[str, Any]:
        """The check as the API has it."""
        return {
            "id": self.id,
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "verdict": self.verdict,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The circumstances of a run, measured by its processes, the worst block of each; None: not measured."""

    server_loop_lag_p99_ms: float | None = None
    generator_loop_lag_p99_ms: float | None = None
    server_cpu_share: float | None = None
    """Of one core, while requests arrived."""
    generator_cpu_share: float | None = None
    load_average: float | None = None
    """Of the last minute before the start."""
    gc_pause_sum_ms: float = 0.0
    """Time that the measuring processes spent in garbage collection while it was measured."""
    gc_pause_max_ms: float = 0.0
    plug_pulled: bool = False
    elapsed_s: float = 0.0
    """The length of all blocks, from start to empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEvidence:
    """What only the service can tell of a run."""

    plan: Plan
    schedule: Schedule
    integrals: Mapping[str, Integrals]
    theory: Mapping[str, Mapping[str, Residual]]
    """The residuals of each side by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a finished run."""

    samples: Mapping[str, Samples]
    analysis: Analysis
    server: ServiceEvidence | None = None
    """None: the service is not one of our own, or the samples were read from a file."""
    conditions: Conditions | None = None
    """None: the samples were read from a file."""
