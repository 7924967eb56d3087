"""The result of a queueing model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

# A percentile beyond this many seconds is none: the model has no steady state.
FOREVER: Final = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Theory:
    """One model's answers: times in seconds, shares in 0…1, None where the model has no answer.

    Waits and sojourns are of everyone who was let in; who left impatiently counts with the time until then. So Little's
    law holds in a steady state: mean_in_system = rate × (1 − p_block) × mean_sojourn.
    """

    model: str
    rho: float
    """Offered load per worker: rate × mean service time / workers."""
    p_wait: float | None = None
    mean_wait: float | None = None
    mean_sojourn: float | None = None
    mean_in_system: float | None = None
    p_block: float | None = None
    p_abandon: float | None = None
    tail: Callable[[float], float] | None = None
    """P(sojourn > t) for t in seconds."""

    def percentile(self, share: float) -> float | None:
        """The sojourn in seconds that this share (0 < share < 1) of customers does not exceed."""
        return percentile(self.tail, share) if self.tail is not None else None

    def p_timeout(self, timeout_s: float) -> float | None:
        """The share of customers whose sojourn is longer than this."""
        return self.tail(timeout_s) if self.tail is not None else None

    def as_json(self, timeout_s: float | None = None) -> dict[str, Any]:
        """The answers by the names that the command line prints."""
        return {
            "model": self.model,
            "rho": self.rho,
            "p_wait": self.p_wait,
            "mean_wait": self.mean_wait,
            "mean_sojourn": self.mean_sojourn,
            "mean_in_system": self.mean_in_system,
            "p50": self.percentile(0.5),
            "p95": self.percentile(0.95),
            "p99": self.percentile(0.99),
            "p_block": self.p_block,
            "p_abandon": self.p_abandon,
            "p_timeout": None if timeout_s is None else self.p_timeout(timeout_s),
        }


def percentile(tail: Callable[[float], float], share: float) -> float | None:
    """Where a tail falls to 1 − share, by bisection to the last digits; None when it never does."""
    if tail(0.0) <= 1 - share:
        return 0.0
    low, high = 0.0, 1e-6
    while tail(high) > 1 - share:
        low, high = high, high * 2
        if high > FOREVER:
            return None
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if tail(middle) > 1 - share:
            low = middle
        else:
            high = middle
    return high
