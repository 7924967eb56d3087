"""The load of a measurement, and how long is waited for its results."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from reportsim.benchmark.workload import Side, Workload
from reportsim.core.model import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurePlan(Workload):
    """One load for one or both sides of a target."""

    patterns: tuple[Mode, ...] = (Mode.SYNC, Mode.ASYNC)
    result_deadline_s: float = 120.0
    settle_s: float = 10.0
    polled: bool = False
    """Whether async results are asked for again and again."""

    @property
    def sides(self) -> tuple[Side, ...]:
        """One or two sides; differences are async − sync."""
        return tuple(Side(mode.value, mode) for mode in self.patterns)

    def timeout_of(self, mode: Mode) -> float:
        """When a client is without a result for good, in seconds from when its request is due."""
        return self.result_deadline_s if mode is Mode.ASYNC else self.answer_timeout_of(mode)

    def answer_timeout_of(self, mode: Mode) -> float:
        """When a client gives up waiting for an answer: on both sides at the same time."""
        return math.inf if self.client_timeout_s is None else self.client_timeout_s

    def as_json(self) -> dict[str, Any]:
        """The parameters, of which none is secret."""
        parameters = asdict(self)
        return {name: value for name, value in parameters.items() if name not in {"patterns", "polled"}}
