"""The few figures of a side that theory, simulation and measurement can all tell, under the same names."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import sub
from typing import Final

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.theory.simulation import Flow
from reportsim.core.model import Mode

LEVELS: Final = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A side in numbers. Times in milliseconds; shares are of all that were offered."""

    mean_wait_ms: float
    """In the queue, over all requests; until the drop for those that were dropped."""
    timeout_share: float
    """Clients that left without a result."""
    late_share: float
    """Results that came, but after the SLO."""
    time_to_result_ms: dict[str, float]
    """Percentiles over all offered, never more than the client's time-out."""
    mean_in_system: float
    """Requests in the queue and in service, over the time until the side was empty again."""
    busy_workers: float
    """Workers at work, over the same time."""
    wasted_share: float
    """Of all worker-seconds, those spent on clients that left."""
    drain_s: float
    """From the last arrival of a block until it was empty, the longer one of both blocks."""

    def flat(self) -> dict[str, float]:
        """The figures by name, percentiles as `time_to_result_ms.p50`."""
        named = {
            name: getattr(self, name)
            for name in ("mean_wait_ms", "timeout_share", "late_share", "mean_in_system", "busy_workers")
        }
        named |= {"wasted_share": self.wasted_share, "drain_s": self.drain_s}
        return named | {f"time_to_result_ms.{level}": value for level, value in self.time_to_result_ms.items()}


def figures(plan: Plan, mode: Mode, flows: Iterable[tuple[Flow, Sequence[float]]]) -> Figures:
    """The figures of a side's blocks, each given as its flow and the times at which its requests are due."""
    waits, times = 0.0, list[float]()
    elapsed = busy = wasted = drain = 0.0
    for flow, intended in flows:
        results, work = flow.results(), flow.busy()
        waits += sum(flow.waits())
        busy += sum(work)
        if flow.deadlines is not None:
            wasted += sum(spent for spent, result in zip(work, results, strict=True) if result == math.inf)
        times += map(sub, results, intended)
        empty = max(flow.ends, default=0.0)
        elapsed += empty
        drain = max(drain, empty - max(intended, default=0.0))
    # A run without requests has figures, too: none of them is more than nothing.
    times = sorted(times) or [0.0]
    count, resolved = len(times), bisect_left(times, math.inf)
    longest = plan.timeout_of(mode)
    return Figures(
        mean_wait_ms=1000 * waits / count,
        timeout_share=(count - resolved) / count,
        late_share=(resolved - min(bisect_right(times, plan.slo_s), resolved)) / count,
        time_to_result_ms={
            level: 1000 * min(times[math.ceil(share * count) - 1], longest) for level, share in LEVELS.items()
        },
        mean_in_system=(waits + busy) / elapsed if elapsed else 0.0,
        busy_workers=busy / elapsed if elapsed else 0.0,
        wasted_share=wasted / busy if busy else 0.0,
        drain_s=drain,
    )
