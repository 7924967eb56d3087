"""The sweep: claims due callbacks that no replica holds, and deletes requests past their retention time."""

import asyncio
import contextlib
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
# The shortest pause: where memory is short, queues run full and empty all the time.
PAUSE_S: Final = 0.05
PRUNE_EVERY_S: Final = 60.0
# The number of accepted requests after which the table's statistics are checked.
ANALYZE_EVERY: Final = 500
# Files are deleted on the loop, so few at once.
PRUNE_BATCH: Final = 200
# The number of batches of files that are compared with their rows each time.
ORPHAN_BATCHES: Final = 10
# The owner of a wait claims the next attempt by itself; the sweep claims those that are overdue by this.
LATE: Final = timedelta(seconds=0.5)


class Sweeper:
    """Claims due callbacks that have no owner, wakes the worker, and deletes old requests and files."""

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
        """Sweeps beside the dispatcher and the worker, whose claims the fences keep apart.

        `accepted` returns how many requests this replica has accepted.
        """
        self._pool = pool
        self._worker = worker
        self._dispatcher = dispatcher
        self._files = files
        self._retention = retention
        self._accepted = accepted
        self._checked = 0
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
                await self.analyze_growth()
                if time.monotonic() - pruned >= PRUNE_EVERY_S:
                    await self.prune()
                    pruned = time.monotonic()
            except OUTAGES as error:
                log.warning("the sweep failed: %r", error)
            except Exception:
                log.exception("the sweep failed")
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_EVERY_S - PAUSE_S):
                    await self._dispatcher.wait_for_room()

    async def analyze_growth(self) -> bool:
        """Analyzes the table of requests when it has outgrown its statistics; returns whether it had.

        It had if they count fewer requests than were accepted since the last check: since a start, and also after most
        requests were deleted.
        """
        accepted = self._accepted()
        grown = accepted - self._checked
        if grown < ANALYZE_EVERY:
            return False
        self._checked = accepted
        return await queue_stats.analyze_if_outgrown(self._pool, grown)

    async def prune(self) -> int:
        """Deletes requests that ended before the retention time, in small batches; returns how many."""
        # Ids are ordered by time, so those that are old enough are one end of the primary key.
        oldest = uuid7(max(int((time.time() - self._retention.total_seconds()) * 4096_000), 0), bytes(8))
        count = 0
        while deleted := await store.prune(self._pool, oldest, self._retention, PRUNE_BATCH):
            count += len(deleted)
            self._files.remove(deleted)
        await self.remove_orphans()
        return count

    async def remove_orphans(self) -> None:
        """Deletes some of the files whose rows another replica has deleted."""
        for _ in range(ORPHAN_BATCHES):
            self._unchecked = self._unchecked or self._files.ids()
            batch, self._unchecked = self._unchecked[:PRUNE_BATCH], self._unchecked[PRUNE_BATCH:]
            if batch and (orphans := set(batch) - await store.existing(self._pool, batch)):
                self._files.remove(orphans)
            if not self._unchecked:
                break
