"""Callback delivery: queues in memory for speed, the table for durability.

Callbacks of ended requests are queued here, by destination. Those for which there is no room go back to the table.
Short waits between attempts are timers of the loop; every wait is in the table too, where the sweeper finds those
that a crash left.
"""

import asyncio
import contextlib
import functools
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from reportsim.core.model import Request
from reportsim.engine.delivery.attempt import AttemptResult, Reason
from reportsim.engine.delivery.destination_queues import DestinationQueues
from reportsim.engine.delivery.http_client import Client, open_client
from reportsim.engine.delivery.queue_group import DestinationHealth, Permit
from reportsim.engine.delivery.rate_limiter import DestinationRateLimiter
from reportsim.engine.delivery.recorder import AttemptRecorder, NextAttempt
from reportsim.engine.delivery.sender import CallbackSender
from reportsim.engine.delivery.ssrf_guard import ResourceShortage, SsrfGuard
from reportsim.engine.owner import Owner
from reportsim.store import callbacks as store
from reportsim.store.batcher import Batcher, Overloaded
from reportsim.store.pool import OUTAGES
from reportsim.tasks import start

log = logging.getLogger(__name__)

PROMPT_MS: Final = 1_000
SHORT_S: Final = 60.0
MAX_TIMERS: Final = 10_000
MAX_DECLINED: Final = 100_000
SWEEP_BATCH: Final = 256
MAX_SWEEP_BATCHES: Final = 8
DEFER_S: Final = 2.0
REMEMBERED_ATTEMPTS: Final = 5_000


class Dispatcher:
    """Delivers the callbacks of ended requests, at least once each."""

    def __init__(
        self,
        owner: Owner,
        sender: CallbackSender,
        recorder: AttemptRecorder,
        *,
        guard: SsrfGuard,
        rate: float,
    ) -> None:
        """Delivers for an owner; `rate` is how often each destination may be called a second, 0 for any rate."""
        self._owner = owner
        self._sender = sender
        self._recorder = recorder
        self._guard = guard
        self._client: Client | None = None
        self._stopping = False
        self._queues: DestinationQueues[Request] = DestinationQueues(DestinationRateLimiter(rate) if rate else None)
        self._pause: asyncio.TimerHandle | None = None
        self._held: set[UUID] = set()
        self._declined: deque[UUID] = deque(maxlen=MAX_DECLINED)
        self._timers: dict[UUID, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Future[Any]] = set()  # attempts, and their records
        self._claiming: set[asyncio.Task[None]] = set()
        self._claims: Batcher[store.Claim, Request | None] = Batcher(
            lambda claims: store.claim(owner.connections, owner.id, owner.lease, claims), name="claim-callback"
        )

    @property
    def secrets(self) -> Sequence[bytes]:
        """The secrets that callbacks are signed with."""
        return self._sender.secrets

    @property
    def held(self) -> list[UUID]:
        """The requests whose next attempt this replica has claimed."""
        return list(self._held)

    def offer(self, request: Request) -> bool:
        """Takes over an ended request whose next attempt is claimed, to change it; False when there is no room."""
        if request.id in self._held:
            return False
        # The service's own receivers are called without a rate limit.
        paced = request.run_id is None and not request.callback_demo
        if not self._queues.take(origin(request), paced=paced):
            self._declined.append(request.id)
            return False
        self._held.add(request.id)
        if not self._stopping:
            self._queues.add(origin(request), request)
            self._pump()
        return True

    @contextlib.asynccontextmanager
    async def running(self, grace: Callable[[], float]) -> AsyncIterator["Dispatcher"]:
        """Delivers as long as the block lasts; then running attempts get `grace` seconds."""
        async with self._claims.running(grace), self._recorder.running(grace), open_client(self._guard) as client:
            await self._load_health()
            self._client = client
            self._pump()
            try:
                yield self
            finally:
                self._stopping = True
                self._queues.clear()
                self._stop_waiting()
                while (tasks := self._tasks | self._claiming) and (left := grace()):
                    await asyncio.wait(tasks, timeout=left)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._stop_waiting()
                self._held.update(self._declined)

    async def _load_health(self) -> None:
        """Reads the health of destinations from the log, so that they are not all new after a start."""
        try:
            found = await store.last_attempts(self._owner.connections, REMEMBERED_ATTEMPTS)
        except OUTAGES as error:
            log.warning("the health of destinations could not be read: %r", error)
            return
        for last in found:
            if health := health_of(last.reason, last.response_time_ms):
                self._queues.learn(last.origin, health)

    def _stop_waiting(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _pump(self) -> None:
        """Starts workers while there are permits."""
        while self._client is not None and (permit := self._queues.next()):
            worker = start(self._work(self._client, permit), name="deliver-callbacks")
            self._tasks.add(worker)
            worker.add_done_callback(self._tasks.discard)
        if self._pause is None and (pause := self._queues.pause) is not None:
            self._pause = asyncio.get_running_loop().call_later(pause, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._pump()

    async def _work(self, client: Client, permit: Permit[Request] | None) -> None:
        """Makes attempts one after another while there are permits; their records are not waited for."""
        while permit is not None:
            await self._deliver(client, permit)
            permit = self._queues.next()
            self._pump()

    async def _deliver(self, client: Client, permit: Permit[Request]) -> None:
        request = permit.item
        try:
            result = await self._send(client, permit)
            recording = self._recorder.record(request, result, self._sender.base_of(request))
        except ResourceShortage as shortage:
            await self._defer(request, shortage)
            self._queues.release(permit)
        except Exception as error:
            self._abandon(request, error)
            self._queues.release(permit)
        else:
            self._tasks.add(recording)
            recording.add_done_callback(functools.partial(self._on_recorded, permit))

    async def _send(self, client: Client, permit: Permit[Request]) -> AttemptResult:
        """Makes one attempt, at the end of which the permit is free."""
        new = self._queues.is_new(permit)
        giving_up = asyncio.get_running_loop().call_later(PROMPT_MS / 1000, self._give_up, permit) if new else None
        health = None
        try:
            result = await self._sender.send(client, permit.item, known=permit.group.known)
            health = health_of(result.reason, result.response_time_ms)
            return result
        finally:
            if giving_up is not None:
                giving_up.cancel()
            for request in self._queues.leave(permit, health):
                self._held.discard(request.id)
                self._declined.append(request.id)

    def _give_up(self, permit: Permit[Request]) -> None:
        self._queues.give_up(permit)
        self._pump()

    async def _defer(self, request: Request, shortage: ResourceShortage) -> None:
        """Postpones a callback that could not be attempted; it does not count as an attempt."""
        wait = DEFER_S * (0.5 + random.random())
        log.warning("the callback of %s is postponed by %.1f s: %s", request.id, wait, shortage)
        try:
            await store.give_back(self._owner.connections, self._owner.id, [request.id], timedelta(seconds=wait))
        except OUTAGES as error:
            log.warning("the callback of %s is delivered after its lease expires: %r", request.id, error)
        self._held.discard(request.id)
        self._wait(request, wait)

    def _on_recorded(self, permit: Permit[Request], recording: "asyncio.Future[NextAttempt | None]") -> None:
        self._tasks.discard(recording)
        goes_on = self._queues.release(permit)
        if recording.cancelled():
            return
        if error := recording.exception():
            self._abandon(permit.item, error)
        else:
            self._held.discard(permit.item.id)
            if following := recording.result():
                self._wait(following.request, following.wait)
        if goes_on:
            self._pump()

    def _abandon(self, request: Request, error: BaseException) -> None:
        """Leaves an attempt to the sweeper, which repeats it when its lease has expired."""
        self._held.discard(request.id)
        log.error("a delivery failed unexpectedly", exc_info=error)

    def _wait(self, request: Request, wait: float) -> None:
        if wait <= SHORT_S and len(self._timers) < MAX_TIMERS:
            if older := self._timers.pop(request.id, None):
                older.cancel()
            loop = asyncio.get_running_loop()
            self._timers[request.id] = loop.call_later(wait, self._due, request)

    def _due(self, request: Request) -> None:
        self._timers.pop(request.id, None)
        task = start(self.take([request]), name=f"claim-callback-{request.id}")
        self._claiming.add(task)
        task.add_done_callback(self._claiming.discard)

    async def take(self, requests: Iterable[Request]) -> None:
        """Claims the next attempts of requests as they were read; skips those that another owner has claimed."""
        for request in requests:
            claim = store.Claim(
                id=request.id,
                series=request.callback_series,
                attempts=request.callback_attempts,
                fence=request.callback_fence,
            )
            try:
                claimed = await self._claims.submit(claim)
            except (*OUTAGES, Overloaded) as error:
                log.warning("the claim of callback %s is left to the sweeper: %s", request.id, error)
                continue
            if claimed:
                self.offer(claimed)

    async def wait_for_room(self) -> None:
        """Waits until a queue that was full has run empty: the table may have more for it."""
        await self._queues.room.wait()

    async def sweep(self, late: timedelta) -> int:
        """Claims and queues what has been due for `late`, as far as there is room; returns how many."""
        self._queues.room.clear()
        if declined := [id for id in self._declined if id not in self._held]:
            self._declined.clear()
            await store.give_back(self._owner.connections, self._owner.id, declined)
        taken = 0
        for _ in range(MAX_SWEEP_BATCHES):
            rooms, elsewhere = self._queues.rooms, self._queues.room_elsewhere
            found = await store.claim_due(
                self._owner.connections,
                self._owner.id,
                self._owner.lease,
                SWEEP_BATCH,
                late,
                rooms,
                elsewhere,
                self.held,
                self._guard.origins,
            )
            offered = sum([self.offer(request) for request in found])
            taken += offered
            if not offered or len(found) < SWEEP_BATCH:
                break
        return taken


def origin(request: Request) -> str:
    """The key of a request's destination queue."""
    return request.callback_origin or ""


def health_of(reason: str | None, response_time_ms: float) -> DestinationHealth | None:
    """The health that an attempt shows of its destination; None when there was no connection."""
    match reason:
        case None | Reason.STATUS:
            return DestinationHealth.PROMPT if response_time_ms <= PROMPT_MS else DestinationHealth.LATE
        case Reason.REFUSED:
            return None
        case _:
            return DestinationHealth.SILENT
