"""The worker: claims as many requests as slots are free, executes them, and writes their ends.

The table is the queue. A wakeup only makes the worker poll early; without one it polls every second. Requests that
belong to this owner cannot be claimed by another: while nothing older waits they begin from memory, without a claim,
and the claim is written only when the work takes longer than a moment, or else with the end.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from reportsim.core.clock import Clock
from reportsim.core.model import Request, Status
from reportsim.engine.owner import Owner
from reportsim.engine.worker.claim_writer import ClaimWriter, Work
from reportsim.engine.worker.completion import Completion
from reportsim.engine.worker.execution import Executor
from reportsim.engine.worker.last_slot import last_slot_rule, may_fill_all_slots
from reportsim.engine.worker.observer import NullObserver, Observer
from reportsim.engine.worker.own_requests import OwnRequests
from reportsim.engine.worker.slots import Slots
from reportsim.store import requests as store
from reportsim.store.pool import OUTAGES
from reportsim.tasks import in_background, start

log = logging.getLogger(__name__)

POLL_INTERVAL_S: Final = 1.0
# Ends that may wait to be written without holding slots; well below what a batcher takes.
MAX_ENDING: Final = 1_000
Take: TypeAlias = Callable[[int, store.PassOver | None], Awaitable[list[Request]]]


class Worker:
    """Claims waiting requests, executes them in its slots, and writes their ends."""

    def __init__(
        self,
        owner: Owner,
        slots: Slots,
        executor: Executor,
        completion: Completion,
        *,
        clock: Clock,
        publish: Callable[[list[Request]], None],
        only_own: bool = False,
        observer: Observer | None = None,
    ) -> None:
        """Works for an owner in some slots; `publish` takes new states.

        A worker of `only_own` claims nothing but what belongs to its owner from the beginning.
        """
        self._owner = owner
        self._slots = slots
        self._executor = executor
        self._completion = completion
        self._clock = clock
        self._publish = publish
        self._only_own = only_own
        self._observer = observer or NullObserver()
        self._wakeup = asyncio.Event()
        self._works: dict[UUID, Work] = {}
        self._own = OwnRequests(owner, slots.width, working=self._works.keys, on_return=self.wake)
        self._table_first = True
        self._left_out = False
        self._passed_over = False
        self._polled = float("-inf")
        self._claims = ClaimWriter(owner, self._works, publish)
        self.draining = False

    @property
    def lost_fences(self) -> int:
        """How many ends the fence has refused, because another owner had taken the request over."""
        return self._completion.lost_fences

    @property
    def slots(self) -> Slots:
        """The capacity that this worker takes from."""
        return self._slots

    @property
    def running_ids(self) -> set[UUID]:
        """The requests that are being worked on here."""
        return set(self._works)

    @property
    def followed_ids(self) -> set[UUID]:
        """The requests that must not be worked on here any more once another replica has changed them."""
        return {*self._works, *self._own.reserved_ids}

    def wake(self) -> None:
        """Announces that there may be requests to claim."""
        self._table_first = True
        self._wakeup.set()

    def expect(self, request: Request, owner: UUID | None) -> None:
        """Announces a request after its COMMIT: one of this owner, or of any."""
        self._observer.queued(request.id)
        if request.id in self._works:
            # A poll has claimed it before this call.
            return
        if owner == self._owner.id and self._own.add(request):
            self._wakeup.set()
        else:
            self._left_out |= owner == self._owner.id
            self.wake()

    def stop_superseded(self, request: Request) -> None:
        """Stops working on a request that has been claimed or ended elsewhere since."""
        self._own.remove_superseded(request)
        work = self._works.get(request.id)
        if work is None and request.ended:
            self._observer.ended(request.id)
        elif work is not None and request.tries > work.request.tries:
            work.task.cancel()

    @contextlib.asynccontextmanager
    async def running(self, grace: Callable[[], float]) -> AsyncIterator["Worker"]:
        """Claims as long as the block lasts; then running work gets `grace` seconds, and the rest is stopped."""
        async with self._completion.running(grace):
            try:
                tasks = self._claim_forever(), self._claims.run(), self._own.run()
                async with in_background(*tasks, names=("claimer", "claim-writer", "own-requests")):
                    yield self
            finally:
                if not self._only_own:
                    await self._own.return_all()
                if works := [work.task for work in self._works.values()]:
                    await asyncio.wait(works, timeout=grace())
                    for task in works:
                        task.cancel()
                    await asyncio.gather(*works, return_exceptions=True)

    async def _claim_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._wakeup.wait()
            self._wakeup.clear()
            try:
                while await self._fill_free_slots():
                    pass
            except OUTAGES as error:
                log.warning("claiming failed: %r", error)
                # Other owners first get the time to renew leases that ran out during the outage.
                self._polled = time.monotonic() + self._owner.lease.total_seconds() / 2
                await asyncio.sleep(POLL_INTERVAL_S)
            except Exception:
                log.exception("claiming failed")
                await asyncio.sleep(POLL_INTERVAL_S)

    async def _fill_free_slots(self) -> bool:
        """Fills free slots, from the table or from memory; False when memory was asked and has nothing."""
        free = [await self._slots.acquire()]
        free += self._slots.take_free()
        taken: list[Request] = []
        is_due = time.monotonic() - self._polled >= POLL_INTERVAL_S
        # Reserved requests are older than what the table has.
        written = is_due or (self._table_first and not self._own.reserved_ids)
        try:
            if written:
                await self._claim(len(free), taken)
            else:
                taken += self._take_own(len(free))
        finally:
            self._slots.give_back(free[len(taken) :])
            for request, free_since in zip(taken, free, strict=False):
                self._start(request, free_since, written=written)
            if written:
                self._publish(taken)
        # A poll may miss rows that another statement has locked.
        return written or bool(taken)

    async def _claim(self, limit: int, claimed: list[Request]) -> None:
        """Claims what the table has, oldest first: expired claims, and what waits for any owner or for this one."""
        # A wakeup from now on may be about something that this poll does not see any more.
        left_out, self._left_out = self._left_out, False
        self._table_first = False
        try:
            more = await self._claim_rows(limit, claimed, left_out=left_out)
        except BaseException:
            self._table_first = True
            self._left_out |= left_out
            raise
        self._table_first |= more
        self._left_out |= left_out and (more or self._passed_over)

    async def _claim_rows(self, limit: int, claimed: list[Request], *, left_out: bool) -> bool:
        """Claims up to `limit` rows; says whether the table may have more that memory does not know."""
        now = self._clock.now()
        only_own = self.draining or self._only_own
        if time.monotonic() - self._polled >= POLL_INTERVAL_S:
            if not only_own:
                await self._pick(limit, claimed, functools.partial(self._take_over, now))
            if len(claimed) < limit:
                self._polled = time.monotonic()
        begun = [id for id, work in self._works.items() if not work.written]
        await self._pick(limit, claimed, functools.partial(self._claim_waiting, now, begun, only_own))
        more = len(claimed) == limit and (
            left_out
            or any(request.id not in self._own for request in claimed)
            or (not only_own and await store.has_unowned(self._owner.connections))
        )
        if more and not only_own:
            await self._own.reserve()
        return more

    async def _take_over(self, now: datetime, limit: int, pass_over: store.PassOver | None) -> list[Request]:
        owner = self._owner
        return await store.take_over(owner.connections, owner.id, limit, owner.lease, now, pass_over)

    async def _claim_waiting(
        self, now: datetime, begun: Sequence[UUID], only_own: bool, limit: int, pass_over: store.PassOver | None
    ) -> list[Request]:
        owner = self._owner
        return await store.claim(
            owner.connections, owner.id, limit, owner.lease, now, only_own=only_own, begun=begun, pass_over=pass_over
        )

    async def _pick(self, limit: int, taken: list[Request], take: Take) -> None:
        """Takes until there are `limit`, the last one apart where it would fill the last slot for one client."""
        room = limit - len(taken)
        if room > 1 and not self._only_own and may_fill_all_slots(self._clients(taken), self._slots.width):
            taken += await take(room - 1, None)
            if len(taken) < limit - 1:
                return
            room = 1
        if room > 0:
            rule = last_slot_rule(self._clients(taken), self._slots.width) if room == 1 else None
            # A slot may come free meanwhile.
            before, self._passed_over = self._passed_over, self._passed_over or rule is not None
            if last := await take(room, rule):
                # The slot is filled: the claim for the next free slot finds the requests that this one has passed over.
                self._passed_over = before
            taken += last

    def _clients(self, taken: Sequence[Request]) -> list[bytes | None]:
        """The clients whose requests hold slots, with those of the requests that were taken for free slots."""
        working = [work.request.client for work in self._works.values() if work.holds_slot]
        return working + [request.client for request in taken]

    def _take_own(self, limit: int) -> list[Request]:
        """Takes the oldest of the owner's own requests from memory."""
        now = self._clock.now()
        oldest, passed_over = self._own.take(limit, self._clients, up_to_reserved=self._table_first)
        self._passed_over |= passed_over
        if oldest:
            self._claims.wake()
        return [
            request.changed(status=Status.PROCESSING, tries=request.tries + 1, started_at=max(now, request.created_at))
            for request in oldest
        ]

    def _start(self, request: Request, free_since: float, *, written: bool) -> None:
        """Starts work on a request; its slot counts as held since both the slot and the request were available."""
        self._own.remove(request.id)
        if (older := self._works.get(request.id)) is not None:
            # Its lease ran out, or a crash of the database undid its first claim.
            older.task.cancel()
        now = time.monotonic()
        age = (self._clock.now() - request.created_at).total_seconds()
        since = self._observer.started(request.id, min(max(free_since, now - age), now))
        task = start(self._work(request), name=f"work-{request.id}", handled=(Exception,))
        work = self._works[request.id] = Work(request, task, since, now, written)
        task.add_done_callback(lambda _: self._forget(request.id, work))

    def _release_slot(self, id: UUID, work: Work) -> None:
        """Frees the slot of a work, once."""
        if work.holds_slot:
            work.holds_slot = False
            self._slots.release()
            self._observer.ended(id)
            self._own.observe(time.monotonic() - work.began)
            if self._passed_over:
                self._passed_over = False
                self.wake()

    def _forget(self, request_id: UUID, work: Work) -> None:
        self._release_slot(request_id, work)
        if self._works.get(request_id) is work:
            del self._works[request_id]
        if not work.task.cancelled() and (error := work.task.exception()):
            log.error("work on %s failed unexpectedly", request_id, exc_info=error)

    async def _work(self, request: Request) -> None:
        work = self._works[request.id]
        ended = await self._executor.execute(request, work.since)
        # Writing the end waits for the disk, and needs no slot for that, unless the database is too slow or away.
        if len(self._works) < self._slots.width + MAX_ENDING:
            self._release_slot(request.id, work)
        await self._completion.write(ended)
