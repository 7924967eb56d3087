"""What a process observes of itself while it is part of a measurement: its loop, its garbage collector, its share."""

import asyncio
import contextlib
import gc
import time
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from reportsim.benchmark.results.percentiles import rank
from reportsim.tasks import in_background

LAG_EVERY_S: Final = 0.02


@dataclass(slots=True)
class Watch:
    """Lags of the event loop, pauses of the garbage collector, processor time."""

    lags_ms: "array[float]" = field(default_factory=lambda: array("d"))
    pause_sum_ms: float = 0.0
    pause_max_ms: float = 0.0
    cpu_share: float | None = None
    """Of one core, over the time that was watched."""
    _paused_at: float = 0.0

    @property
    def lag_p99_ms(self) -> float | None:
        """How late the loop was at most in 99 of 100 looks."""
        ordered = sorted(self.lags_ms)
        return round(ordered[rank(len(ordered), 0.99) - 1], 3) if ordered else None

    def collects(self, phase: str, _info: dict[str, Any]) -> None:
        """A callback of the garbage collector."""
        if phase == "start":
            self._paused_at = time.monotonic()
        else:
            pause = 1000 * (time.monotonic() - self._paused_at)
            self.pause_sum_ms += pause
            self.pause_max_ms = max(self.pause_max_ms, pause)

    async def look(self) -> None:
        """Asks for a wake-up again and again, and notes how late it comes."""
        while True:
            due = time.monotonic() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.lags_ms.append(1000 * max(time.monotonic() - due, 0.0))


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    """Watches this process as long as the block lasts."""
    watch = Watch()
    gc.callbacks.append(watch.collects)
    spent, began = time.process_time(), time.monotonic()
    async with in_background(watch.look(), names=("benchmark-watch",)):
        try:
            yield watch
        finally:
            watch.cpu_share = (time.process_time() - spent) / max(time.monotonic() - began, 1e-9)
            gc.callbacks.remove(watch.collects)
