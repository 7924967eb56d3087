"""The waiting requests that a worker knows and no other may claim: begun from memory, without a claim.

They belong to the owner from the beginning, or were reserved: while requests are short and more of them wait than slots
are free, the worker takes the oldest ones in batches for the slots that come free next. A reserved request still waits;
it is returned to all replicas when it has not begun after a moment, or when this one stops.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Collection, Sequence, Set
from typing import Final
from uuid import UUID

from reportsim.core.model import Mode, Request, Status
from reportsim.engine.owner import Owner
from reportsim.engine.worker.last_slot import is_passed_over, last_slot_rule
from reportsim.store import requests as store
from reportsim.store.pool import OUTAGES

log = logging.getLogger(__name__)

MAX_KNOWN: Final = 10_000
# Only as many requests are reserved as should begin within this time.
AHEAD_S: Final = 0.03
# A reserved request that has not begun after this time is returned.
RETURN_AFTER_S: Final = 0.1
MAX_RESERVED: Final = 64
RETRY_S: Final = 1.0
# The weight of the newest value in the moving average of slot holding times.
SMOOTHING: Final = 1 / 8


class OwnRequests:
    """The waiting requests of an owner, oldest first."""

    def __init__(
        self, owner: Owner, width: int, *, working: Callable[[], Collection[UUID]], on_return: Callable[[], None]
    ) -> None:
        """Takes the number of slots, and a function that returns which requests are being worked on.

        `on_return` is called when reserved requests have been returned.
        """
        self._owner = owner
        self._width = width
        self._working = working
        self._on_return = on_return
        self._known: dict[UUID, Request] = {}
        self._reserved: dict[UUID, float] = {}
        # Whether rows may be reserved that memory does not know: a response got lost, or another statement was at one.
        self._may_own_more = False
        # A return must not undo a reservation that memory does not know yet.
        self._changing = asyncio.Lock()
        self._wakeup = asyncio.Event()
        # As if requests had been long until now.
        self._held_s = 1.0

    def __contains__(self, id: UUID) -> bool:
        return id in self._known

    @property
    def reserved_ids(self) -> Set[UUID]:
        """The requests that were reserved and still wait."""
        return self._reserved.keys()

    def add(self, request: Request) -> bool:
        """Adds the newest request; False when there are too many already."""
        if len(self._known) >= MAX_KNOWN:
            return False
        self._known[request.id] = request
        return True

    def remove(self, id: UUID) -> None:
        """Removes a request, if it is known."""
        self._known.pop(id, None)
        self._reserved.pop(id, None)

    def remove_superseded(self, request: Request) -> None:
        """Removes a request that has been claimed or ended elsewhere since."""
        known = self._known.get(request.id)
        if known is not None and (request.status is not Status.PENDING or request.tries > known.tries):
            self.remove(request.id)

    def take(
        self, limit: int, clients: Callable[[Sequence[Request]], Sequence[bytes | None]], *, up_to_reserved: bool
    ) -> tuple[list[Request], bool]:
        """Takes the oldest requests; says whether the rule of the last slot has kept all others back.

        `clients` returns whose requests hold slots once some of these do, too. With `up_to_reserved`, requests newer
        than those that were reserved are left: older ones may wait in the table.
        """
        newest = next(reversed(self._reserved), None) if up_to_reserved else None
        rest = itertools.takewhile(lambda request: newest is None or request.id <= newest, self._known.values())
        taken = list(itertools.islice(rest, limit - 1))
        rule = last_slot_rule(clients(taken), self._width)
        passed_over = False
        for request in rest:
            passed_over = is_passed_over(request, rule)
            if not passed_over:
                taken.append(request)
                break
        for request in taken:
            self.remove(request.id)
        return taken, passed_over

    def observe(self, held_s: float) -> None:
        """Takes into account for how long a slot was held."""
        self._held_s += (held_s - self._held_s) * SMOOTHING

    async def reserve(self) -> None:
        """Reserves the oldest of the requests that wait for any replica, as many as should begin in a moment."""
        number = min(int(self._width * AHEAD_S / max(self._held_s, 1e-6)), MAX_RESERVED)
        if number < 1:
            return
        owner = self._owner
        async with self._changing:
            may_own_more, self._may_own_more = self._may_own_more, True
            self._wakeup.set()
            reserved = await store.reserve(owner.connections, owner.id, number, owner.lease, AHEAD_S)
            self._may_own_more = may_own_more
            now = time.monotonic()
            self._reserved |= {request.id: now for request in reserved}
            known = sorted((*self._known.values(), *reserved), key=lambda request: request.id)
            self._known.clear()
            self._known |= {request.id: request for request in known}

    async def run(self) -> None:
        """Returns reserved requests that have not begun in time, until it is cancelled."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            while self._reserved or self._may_own_more:
                await asyncio.sleep(RETURN_AFTER_S / 2)
                try:
                    await self._return(time.monotonic() - RETURN_AFTER_S)
                except OUTAGES as error:
                    log.warning("reserved requests could not be returned: %r", error)
                    await asyncio.sleep(RETRY_S)
                except Exception:
                    log.exception("reserved requests could not be returned")
                    await asyncio.sleep(RETRY_S)

    async def return_all(self) -> None:
        """Returns all reserved requests, if the database answers within a second."""
        with contextlib.suppress(TimeoutError, *OUTAGES):
            async with asyncio.timeout(RETRY_S):
                await self._return(time.monotonic())

    async def _return(self, before: float) -> None:
        """Returns what was reserved before, and what is reserved without memory knowing it."""
        async with self._changing:
            late = [id for id, since in self._reserved.items() if since <= before]
            if not late and not self._may_own_more:
                return
            for id in late:
                self.remove(id)
            self._may_own_more = True
            keep = {request.id for request in self._known.values() if request.mode is Mode.ASYNC}
            owner = self._owner
            left = await store.return_reserved(owner.connections, owner.id, keep.union(self._working()))
            self._may_own_more = left
        self._on_return()
