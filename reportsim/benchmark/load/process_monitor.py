"""What a process measures of itself while it is part of a run: its event loop, its garbage collector, its CPU share."""

import asyncio
import contextlib
import gc
import time
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from reportsim.benchmark.statistics.percentile_levels import rank
from reportsim.tasks import start, wait_for_end

TICK_S: Final = 0.02


@dataclass(slots=True)
class ProcessMonitor:
    """Lags of the event loop, pauses of the garbage collector and processor time, block by block."""

    lag_p99_ms: float | None = None
    """Of the worst block; None: none was watched."""
    cpu_share: float | None = None
    """Of one core, in the worst block."""
    pause_sum_ms: float = 0.0
    pause_max_ms: float = 0.0
    _paused_at: float = 0.0
    _lags_ms: "array[float]" = field(default_factory=lambda: array("d"))

    def collects(self, phase: str, _info: dict[str, Any]) -> None:
        """A callback of the garbage collector."""
        if phase == "start":
            self._paused_at = time.monotonic()
        else:
            pause = 1000 * (time.monotonic() - self._paused_at)
            self.pause_sum_ms += pause
            self.pause_max_ms = max(self.pause_max_ms, pause)

    @contextlib.asynccontextmanager
    async def block(self) -> AsyncIterator[None]:
        """Watches the process while requests arrive; the worst block counts."""
        self._lags_ms = array("d")
        began, spent = time.monotonic(), time.process_time()
        ticking = start(self._tick(began), name="process-monitor")
        try:
            yield
        finally:
            ticking.cancel()
            elapsed = time.monotonic() - began
            self._note_lags(began, time.monotonic())
            self.cpu_share = max(self.cpu_share or 0.0, (time.process_time() - spent) / max(elapsed, TICK_S))
            if self._lags_ms:
                ordered = sorted(self._lags_ms)
                p99 = round(ordered[rank(len(ordered), 0.99) - 1], 3)
                self.lag_p99_ms = max(self.lag_p99_ms or 0.0, p99)

    async def _tick(self, began: float) -> None:
        while True:
            now = time.monotonic()
            await asyncio.sleep(began + (int((now - began) / TICK_S) + 1) * TICK_S - now)
            self._note_lags(began, time.monotonic())

    def _note_lags(self, began: float, now: float) -> None:
        """Notes how late each tick of an absolute grid was: a stall of half a second makes many ticks late."""
        while (due := began + (len(self._lags_ms) + 1) * TICK_S) <= now:
            self._lags_ms.append(1000 * (now - due))


@contextlib.asynccontextmanager
async def monitored_process() -> AsyncIterator[ProcessMonitor]:
    """A monitor that sees the garbage collector as long as the context lasts."""
    monitor = ProcessMonitor()
    gc.callbacks.append(monitor.collects)
    try:
        yield monitor
    finally:
        gc.callbacks.remove(monitor.collects)


@contextlib.asynccontextmanager
async def watch_arrivals(monitor: ProcessMonitor, seconds: float) -> AsyncIterator[None]:
    """Watches the process during the arrival window of a block, but not while it empties."""

    async def watch() -> None:
        async with monitor.block():
            await asyncio.sleep(seconds)

    watching = start(watch(), name="process-monitor-window")
    try:
        yield
    finally:
        watching.cancel()
        await wait_for_end(watching)
