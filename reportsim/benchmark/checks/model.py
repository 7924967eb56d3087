"""What the honesty checks look at, beside the records themselves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reportsim.benchmark.load.arrivals import Schedule
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.samples import Integrals, Samples
from reportsim.core.model import Mode


class Verdict(StrEnum):
    """What a check comes to; a failed one is a banner on the result."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One honesty check; `value` and `limit` have the same shape, None where there is none."""

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
    """The circumstances of a run, measured by whoever ran it; None: not measured."""

    server_loop_lag_p99_ms: float | None = None
    generator_loop_lag_p99_ms: float | None = None
    server_cpu_share: float | None = None
    """Of one core, over the run."""
    generator_cpu_share: float | None = None
    load_average: float | None = None
    """Of the last minute before the start."""
    pool_waits: int = 0
    """How often the generator's client had to queue for a connection."""
    gc_pause_sum_ms: float = 0.0
    """Time the generator and the server spent in garbage collection while it was measured."""
    gc_pause_max_ms: float = 0.0
    freeze_error_ms: float | None = None
    """Self-test: by how much percentiles missed those computed by hand, after the server was frozen; None: not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a finished run."""

    plan: Plan
    schedule: Schedule
    samples: Mapping[Mode, Samples]
    integrals: Mapping[Mode, Integrals]
    results: Mapping[Mode, dict[str, Any]]
    """Each side's result."""
    comparison: Mapping[str, Any]
    theory: Mapping[str, Any]
    """The residuals of each side by its name."""
    conditions: Conditions = field(default_factory=Conditions)
