"""Waiting for the end of a sync request, and refusing what cannot wait: for a slot, or in a client's queue."""

import asyncio
from typing import Final
from uuid import UUID

from reportsim.core.model import Request, Status
from reportsim.core.problems import Problem, unavailable
from reportsim.engine.changes import RequestChanges
from reportsim.store import requests as store
from reportsim.store.pool import Pool

READ_AGAIN_S: Final = 5.0
TOO_MUCH_WAITING_RETRY_S: Final = 5


def too_much_waiting() -> Problem:
    """The refusal of a request beyond the bounds of what one client may have waiting."""
    return unavailable("As much of this client's work is waiting as may wait at once.", TOO_MUCH_WAITING_RETRY_S)


class BlockingWait:
    """Waits for the ends of sync requests that belong to one owner."""

    def __init__(self, pool: Pool, owner: UUID, changes: RequestChanges, *, timeout: float) -> None:
        """Waits `timeout` seconds for a slot."""
        self._pool = pool
        self._owner = owner
        self._changes = changes
        self._timeout = timeout

    async def wait_for_end(
        self, request_id: UUID, ended: "asyncio.Future[Request]", *, patient: bool = False
    ) -> Request:
        """Waits for the end of a sync request, without a timeout when `patient`.

        Raises:
            Problem: `no-capacity` when no slot came free in time; the row has failed and its key is free again.
        """
        if patient:
            return await ended
        if found := await result_within(ended, self._timeout):
            return found
        problem = Problem(
            "no-capacity",
            f"No worker slot came free within {self._timeout:g} s.",
            {"instance": f"/api/requests/{request_id}"},
            {"Retry-After": "1"},
        )
        if await self._changes.fail(self._owner, [request_id], [Status.PENDING], problem):
            raise problem
        while True:
            if found := await result_within(ended, READ_AGAIN_S):
                return found
            # Another replica may have ended it, and its notification got lost.
            row = await store.get_one(self._pool, request_id)
            if row is not None and row.ended:
                return row


async def result_within(ended: "asyncio.Future[Request]", timeout: float) -> Request | None:
    """The result of a future; None after `timeout` seconds."""
    done, _ = await asyncio.wait([ended], timeout=timeout)
    return ended.result() if done else None
