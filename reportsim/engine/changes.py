"""Changes that clients ask for: cancelling a request, dropping those of clients that left, and delivering again.

A change that was committed is published even when the client that asked for it has disconnected meanwhile.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar
from uuid import UUID

from reportsim.core.clock import Clock
from reportsim.core.model import Mode, Request, Status
from reportsim.core.problems import Problem
from reportsim.core.stored_response import blocking_answer
from reportsim.engine.counts import Counts
from reportsim.engine.delivery.dispatcher import Dispatcher
from reportsim.engine.owner import Owner
from reportsim.engine.worker.worker import Worker
from reportsim.reports.files.folder import ReportFiles
from reportsim.store import callbacks as callback_store
from reportsim.store import requests as store
from reportsim.store.pool import OUTAGES, Pool
from reportsim.tasks import start

T = TypeVar("T")

OPEN: Final = (Status.PENDING, Status.PROCESSING)


class RequestChanges:
    """Changes requests and publishes what was changed."""

    def __init__(
        self,
        pool: Pool,
        owner: Owner,
        workers: Mapping[UUID, Worker],
        dispatcher: Dispatcher,
        *,
        clock: Clock,
        counts: Counts,
        files: ReportFiles,
        publish: Callable[[list[Request]], None],
    ) -> None:
        """Changes requests by statements on the clients' pool; `workers` are those of this replica, by owner."""
        self._pool = pool
        self._owner = owner
        self._workers = workers
        self._dispatcher = dispatcher
        self._clock = clock
        self._counts = counts
        self._files = files
        self._publish = publish
        self._running: set[asyncio.Task[Any]] = set()

    async def cancel(self, request_id: UUID) -> Request | None:
        """Fails a request that has not ended; None when it has ended, or is unknown."""
        return await self._shield(self._cancel(request_id))

    async def drop(self, owner: UUID, ids: Sequence[UUID], states: Sequence[Status]) -> None:
        """Fails those of an owner's sync requests whose clients disconnected, if they are in one of some states."""
        await self.fail(owner, ids, states, Problem("cancelled", "Its client disconnected."))

    async def fail(self, owner: UUID, ids: Sequence[UUID], states: Sequence[Status], problem: Problem) -> list[Request]:
        """Fails an owner's own requests if they are in one of some states, and frees their keys; returns those."""
        return await self._shield(self._fail(owner, ids, states, problem))

    async def redeliver(self, request_id: UUID) -> Request | None:
        """Starts a new series of callbacks; None while one is running or where there is none to repeat."""
        series = callback_store.redeliver(self._pool, self._owner.id, self._owner.lease, [request_id])
        started = await self._shield(self._offer_series(series))
        return started[0] if started else None

    async def redeliver_matching(self, matching: callback_store.Matching, limit: int) -> list[Request]:
        """Starts a new series of callbacks for the oldest requests that match and have none running."""
        series = callback_store.redeliver_matching(self._pool, self._owner.id, self._owner.lease, matching, limit)
        return await self._shield(self._offer_series(series))

    async def wait(self, timeout: float) -> None:
        """Waits for changes that still run."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout)

    async def _shield(self, change: Coroutine[Any, Any, T]) -> T:
        """Completes a change even when its caller is cancelled."""
        task = start(change, name="change", handled=(Problem, *OUTAGES))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _cancel(self, request_id: UUID) -> Request | None:
        row = await store.get_one(self._pool, request_id)
        if row is None:
            return None
        error = Problem("cancelled", "It was cancelled before it ended.").as_json()
        ended = replace(row, status=Status.FAILED, error=error)
        failed = await store.abandon(
            self._pool,
            [request_id],
            states=OPEN,
            error=error,
            at=self._clock.now(),
            answer=blocking_answer(ended) if row.mode is Mode.SYNC else None,
        )
        self._stop_working(failed)
        self._files.remove(request.id for request in failed)
        self._publish(failed)
        await self._dispatcher.take(request for request in failed if request.callback_url)
        return failed[0] if failed else None

    async def _fail(
        self, owner: UUID, ids: Sequence[UUID], states: Sequence[Status], problem: Problem
    ) -> list[Request]:
        if Status.PROCESSING not in states and (worker := self._workers.get(owner)):
            # The row of a request that is being worked on may still say that it waits.
            running = worker.running_ids
            ids = [id for id in ids if id not in running]
        if not ids:
            return []
        failed = await store.abandon(
            self._pool,
            ids,
            states=states,
            error=problem.as_json(),
            at=self._clock.now(),
            owner=owner,
            free_key=True,
        )
        self._stop_working(failed)
        self._publish(failed)
        return failed

    def _stop_working(self, failed: Iterable[Request]) -> None:
        for request in failed:
            self._counts.ended[Status.FAILED] += 1
            for worker in self._workers.values():
                worker.stop_superseded(request)

    async def _offer_series(self, series: Awaitable[list[Request]]) -> list[Request]:
        started = await series
        self._publish(started)
        for request in started:
            self._dispatcher.offer(copy.copy(request))
        return started
