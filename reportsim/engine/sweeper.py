"""The sweep: claims due callbacks that no replica holds, and deletes requests past their retention time."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

from reportsim.core.identifiers import uuid7
from reportsim.engine.delivery.dispatcher import Dispatcher
from reportsim.engine.worker.worker import Worker
from reportsim.reports.files.folder import ReportFiles
from reportsim.store import queue_stats
from reportsim.store import requests as store
from reportsim.store.pool import OUTAGES, Pool

log = logging.getLogger(__name__)

SWEEP_EVERY_S: Final = 1.0
PRUNE_EVERY_S: Final = 60.0
# So many accepted requests make the first look at what the planner knows of them, and ten times as many the next.
FIRST_LOOK: Final = 500
# Files are deleted on the loop, so few at once.
PRUNE_BATCH: Final = 200
# So many batches of reports are held against their rows each time.
ORPHAN_BATCHES: Final = 10
# The replica that holds a wait takes its end by itself; the sweep looks for those that nobody took.
LATE: Final = timedelta(seconds=0.5)


class Sweeper:
    """Finds due callbacks and waiting requests that no one holds, and deletes what is past its time."""

    def __init__(
        self,
        *,
        pool: Pool,
        worker: Worker,
        dispatcher: Dispatcher,
        files: ReportFiles,
        retention: timedelta,
        accepted: Callable[[], int],
    ) -> None:
        """Makes a sweeper; a sweep that collides with the fast path changes nothing.

        `accepted` says how many requests this replica has accepted.
        """
        self._pool = pool
        self._worker = worker
        self._dispatcher = dispatcher
        self._files = files
        self._retention = retention
        self._accepted = accepted
        self._look_at = FIRST_LOOK
        self._unchecked: list[UUID] = []

    async def run(self) -> None:
        """Sweeps until it is cancelled, through outages."""
        pruned = time.monotonic()
        late = timedelta(0)
        while True:
            try:
                while await self._dispatcher.sweep(late):
                    pass
                late = LATE
                self._worker.wake()
                await self.look_at_growth()
                if time.monotonic() - pruned >= PRUNE_EVERY_S:
                    await self.prune()
                    pruned = time.monotonic()
            except OUTAGES as error:
                log.warning("the sweep failed: %r", error)
            except Exception:
                log.exception("the sweep failed")
            await asyncio.sleep(SWEEP_EVERY_S)

    async def look_at_growth(self) -> bool:
        """Has the planner learn of a table that has outgrown what it knows; says whether it had to."""
        accepted = self._accepted()
        if accepted < self._look_at:
            return False
        self._look_at = 10 * accepted
        return await queue_stats.analyze_if_outgrown(self._pool, accepted)

    async def prune(self) -> int:
        """Deletes what ended before the retention time, in small batches; says how many."""
        # Ids are ordered by time, so those that are old enough are one end of the primary key.
        oldest = uuid7(max(int((time.time() - self._retention.total_seconds()) * 4096_000), 0), bytes(8))
        count = 0
        while deleted := await store.prune(self._pool, oldest, self._retention, PRUNE_BATCH):
            count += len(deleted)
            self._files.remove(deleted)
        self._files.remove_before(oldest)
        await self.remove_orphans()
        return count

    async def remove_orphans(self) -> None:
        """Deletes reports whose rows are gone, which another replica may have pruned; a part of all at a time."""
        for _ in range(ORPHAN_BATCHES):
            self._unchecked = self._unchecked or self._files.ids()
            batch, self._unchecked = self._unchecked[:PRUNE_BATCH], self._unchecked[PRUNE_BATCH:]
            if batch and (orphans := set(batch) - await store.existing(self._pool, batch)):
                self._files.remove(orphans)
            if not self._unchecked:
                break
