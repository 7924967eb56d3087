"""Writing the ends of requests, many in one statement, for as long as it takes the database to be available."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from reportsim.core.json import dumps
from reportsim.core.model import Mode, Request, Status
from reportsim.core.stored_response import blocking_answer
from reportsim.engine.owner import Owner
from reportsim.store import requests as store
from reportsim.store.batcher import Batcher
from reportsim.store.pool import persist

log = logging.getLogger(__name__)


class Completion:
    """Writes the ends of an owner's requests; the fence refuses those of requests that were taken over."""

    def __init__(
        self,
        owner: Owner,
        *,
        discard: Callable[[UUID], None],
        publish: Callable[[list[Request]], None],
        on_end: Callable[[Request], None],
        callback_owner: UUID | None = None,
    ) -> None:
        """Writes ends for an owner.

        `discard` deletes the report of a request that failed, `publish` takes new states, and `on_end` the requests
        that were ended here. `callback_owner` delivers their callbacks, by default the owner itself.
        """
        self._connections = owner.connections
        self._discard = discard
        self._publish = publish
        self._on_end = on_end
        self.lost_fences = 0
        self.ends: Batcher[store.Finish, bool] = Batcher(
            lambda ends: store.finish(owner.connections, owner.id, owner.lease, ends, callback_owner), name="finish"
        )

    def running(self, grace: Callable[[], float]) -> AbstractAsyncContextManager[Any]:
        """Writes as long as the block lasts; what is queued then gets `grace` seconds."""
        return self.ends.running(grace)

    async def write(self, request: Request) -> None:
        """Writes one end and publishes it; drops it where the fence refuses it."""
        end = end_of(request)
        if not await persist(lambda: self.ends.submit(end)) and not await self._is_written(request):
            return
        if request.status is Status.FAILED:
            self._discard(request.id)
        self._publish([request])
        if request.callback_url is not None:
            # The statement that ended it has claimed its callback for this replica, too.
            request = request.changed(callback_fence=request.callback_fence + 1)
        self._on_end(request)

    async def _is_written(self, request: Request) -> bool:
        """Whether an end that was refused was written before, and only the response got lost."""
        found = await persist(lambda: store.get(self._connections, [request.id]))
        if any((row.tries, row.completed_at) == (request.tries, request.completed_at) for row in found):
            return True
        self.lost_fences += 1
        log.warning("request %s was taken over; its result is dropped", request.id)
        # Clients that wait for its end get the one that the other owner wrote.
        self._publish(found)
        return False


def end_of(request: Request) -> store.Finish:
    """The columns that the end of a request changes."""
    assert request.completed_at is not None
    status, body = blocking_answer(request) if request.mode is Mode.SYNC else (None, None)
    return store.Finish(
        id=request.id,
        tries=request.tries,
        started_at=request.started_at,
        status=request.status,
        result_payload=dumps(request.result_payload).decode() if request.result_payload else None,
        error=dumps(request.error).decode() if request.error else None,
        completed_at=request.completed_at,
        answer_status=status,
        answer_body=body,
    )
