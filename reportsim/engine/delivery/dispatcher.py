"""Callback delivery: an in-process queue for speed, the table for certainty.

What ends is queued here; `queues` says whose turn it is on the wire. What finds no room here goes back to the table.
Waits between attempts run on the loop's clock while they are short, and stand in the table too, where the sweeper
finds those that a crash left behind.
"""

import asyncio
import contextlib
import functools
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

from reportsim.core import signing, tracing
from reportsim.core.backoff import wait_after
from reportsim.core.callback_policy.urls import CallbackTarget, OwnReceiver, Refusal, resource_of
from reportsim.core.clock import Clock
from reportsim.core.identifiers import Entropy
from reportsim.core.json import dumps
from reportsim.core.model import CallbackLog, CallbackStatus, Request, callback_event
from reportsim.engine.delivery.attempt import AttemptResult, Reason, attempt
from reportsim.engine.delivery.destination_queues import DestinationHealth, DestinationQueues, Permit
from reportsim.engine.delivery.http_client import Client, open_client
from reportsim.engine.delivery.rate_limiter import DestinationRateLimiter
from reportsim.engine.delivery.ssrf_guard import ResourceShortage, SsrfGuard
from reportsim.store import callbacks as store
from reportsim.store.batcher import Batcher, Overloaded
from reportsim.store.pool import OUTAGES, Fetches, persist
from reportsim.tasks import in_background, start

log = logging.getLogger(__name__)

PROMPT_MS: Final = 1_000
SHORT_S: Final = 60.0
MOST_TIMERS: Final = 10_000
MOST_DECLINED: Final = 100_000
SWEEP: Final = 256
MOST_SWEEPS: Final = 8
DEFER_S: Final = 2.0
REMEMBERED_ATTEMPTS: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How callbacks are made: the settings that delivery depends on."""

    waits: tuple[float, ...]
    jitter: float
    attempts: int
    timeout: float
    rate: float


class Dispatcher:
    """Delivers the callbacks of ended requests, at least once each."""

    def __init__(
        self,
        *,
        connections: Fetches,
        owner: UUID,
        lease: timedelta,
        policy: DeliveryPolicy,
        guard: SsrfGuard,
        published: Callable[[list[Request]], None],
        logged: Callable[[CallbackLog, UUID | None], None],
        clock: Clock,
        new_id: Callable[[], UUID],
        base_url: Callable[[], str],
        demo: Callable[[], OwnReceiver | None],
    ) -> None:
        """Makes a dispatcher; `demo` is where this replica's own demo receiver listens."""
        self._connections = connections
        self._owner = owner
        self._lease = lease
        self._policy = policy
        self._guard = guard
        self._published = published
        self._logged = logged
        self._clock = clock
        self._base_url = base_url
        self._demo = demo
        self.secrets: Sequence[bytes] = ()
        self._new_id = new_id
        self._entropy = Entropy()
        self._queue: asyncio.Queue[Request] = asyncio.Queue()  # bounded by the queues
        self._queues: DestinationQueues[Request] = DestinationQueues(
            DestinationRateLimiter(policy.rate) if policy.rate else None
        )
        self._resting: asyncio.TimerHandle | None = None
        self._held: set[UUID] = set()
        self._declined: deque[UUID] = deque(maxlen=MOST_DECLINED)
        self._timers: dict[UUID, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming: set[asyncio.Task[None]] = set()
        self._claims: Batcher[store.Claim, Request | None] = Batcher(
            lambda claims: store.claim(connections, owner, lease, claims), name="claim-callback"
        )
        self._records: Batcher[store.Attempt, bool] = Batcher(
            lambda attempts: store.record(connections, owner, attempts), name="record-attempt"
        )

    @property
    def held(self) -> list[UUID]:
        """The requests whose next attempt this replica has claimed."""
        return list(self._held)

    def offer(self, request: Request) -> bool:
        """Takes on an ended request whose next attempt is claimed already; False when there is no room for it."""
        if request.id in self._held:
            return False
        # Receivers of its own are called as fast as they answer.
        paced = request.run_id is None and not request.callback_demo
        if not self._queues.take(origin(request), paced=paced):
            self._declined.append(request.id)
            return False
        self._held.add(request.id)
        self._queue.put_nowait(request)
        return True

    @contextlib.asynccontextmanager
    async def running(self, grace: Callable[[], float]) -> AsyncIterator["Dispatcher"]:
        """Delivers as long as the block lasts; then attempts on the wire get `grace` seconds."""
        async with self._claims.running(grace), self._records.running(grace), open_client(self._guard) as client:
            await self._remember()
            try:
                async with in_background(self._dispatch(client), names=("dispatcher",)):
                    yield self
            finally:
                self._queues.clear()
                self._stop_waiting()
                if tasks := self._tasks | self._claiming:
                    await asyncio.wait(tasks, timeout=grace())
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                self._stop_waiting()
                self._held.update(self._declined)

    async def _remember(self) -> None:
        """Learns of destinations what the log says: after a start they are not all new."""
        try:
            found = await store.last_attempts(self._connections, REMEMBERED_ATTEMPTS)
        except OUTAGES as error:
            log.warning("what is known of destinations could not be read: %r", error)
            return
        for last in found:
            if health := health_of(last.reason, last.response_time_ms):
                self._queues.learn(last.origin, health)

    def _stop_waiting(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def _dispatch(self, client: Client) -> None:
        while True:
            request = await self._queue.get()
            self._queues.add(origin(request), request)
            self._pump(client)

    def _pump(self, client: Client) -> None:
        """Starts deliveries while there is room on the wire."""
        while permit := self._queues.next():
            task = start(self._deliver(client, permit), name=f"deliver-{permit.item.id}", handled=(Exception,))
            self._tasks.add(task)
            task.add_done_callback(functools.partial(self._delivered, client, permit))
        if self._resting is None and (pause := self._queues.pause) is not None:
            self._resting = asyncio.get_running_loop().call_later(pause, self._rested, client)

    def _rested(self, client: Client) -> None:
        self._resting = None
        self._pump(client)

    async def _deliver(self, client: Client, permit: Permit[Request]) -> None:
        request = permit.item
        new = self._queues.is_new(permit)
        giving_up = (
            asyncio.get_running_loop().call_later(PROMPT_MS / 1000, self._give_up, client, permit) if new else None
        )
        try:
            outcome = await self._attempt(client, request, known=permit.group.known)
        except ResourceShortage as shortage:
            self._leave(permit, None)
            await self._defer(request, shortage)
            return
        except BaseException:
            self._leave(permit, None)
            raise
        finally:
            if giving_up is not None:
                giving_up.cancel()
        self._leave(permit, health_of(outcome.reason, outcome.response_time_ms))
        self._pump(client)
        await self._record(request, outcome)

    def _give_up(self, client: Client, permit: Permit[Request]) -> None:
        self._queues.give_up(permit)
        self._pump(client)

    async def _defer(self, request: Request, shortage: ResourceShortage) -> None:
        """Puts off what could not be tried; it does not count as an attempt."""
        wait = DEFER_S * (0.5 + random.random())
        log.warning("the callback of %s is put off by %.1f s: %s", request.id, wait, shortage)
        try:
            await store.give_back(self._connections, self._owner, [request.id], timedelta(seconds=wait))
        except OUTAGES as error:
            log.warning("the callback of %s waits for the end of its lease: %r", request.id, error)
        self._held.discard(request.id)
        self._wait(request, wait)

    def _leave(self, permit: Permit[Request], health: DestinationHealth | None) -> None:
        for request in self._queues.leave(permit, health):
            self._held.discard(request.id)
            self._declined.append(request.id)

    def _delivered(self, client: Client, permit: Permit[Request], task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._queues.written(permit)
        if task.cancelled():
            return
        if error := task.exception():
            # No longer held, its lease runs out, and the sweeper makes the attempt again.
            self._held.discard(permit.item.id)
            log.error("a delivery ended badly", exc_info=error)
        self._pump(client)

    async def _record(self, request: Request, outcome: AttemptResult) -> None:
        number = request.callback_attempts + 1
        over = outcome.success or outcome.final or number >= self._policy.attempts
        wait = None if over else self._wait_after(number, outcome)
        now = self._clock.now()
        status = (
            CallbackStatus.PENDING if not over else CallbackStatus.SUCCESS if outcome.success else CallbackStatus.FAILED
        )
        row = CallbackLog(
            id=self._new_id(),
            request_id=request.id,
            series=request.callback_series,
            attempt_number=number,
            status_code=outcome.status_code,
            success=outcome.success,
            reason=outcome.reason,
            error_message=outcome.error_message,
            response_time_ms=outcome.response_time_ms,
            attempted_at=now - timedelta(milliseconds=outcome.response_time_ms),
            remote_ip=outcome.remote_ip,
            response_excerpt=outcome.excerpt,
            next_attempt_at=now + timedelta(seconds=wait) if wait is not None else None,
        )
        entry = store.Attempt(
            log=row,
            fence=request.callback_fence,
            status=status,
            wait=timedelta(seconds=wait) if wait is not None else None,
            base=self._base(request),
        )
        recorded = await persist(lambda: self._records.submit(entry))
        self._held.discard(request.id)
        log.log(
            logging.DEBUG if request.run_id else logging.INFO,
            "callback of %s, attempt %d: %s",
            request.id,
            number,
            outcome.error_message or "delivered",
            extra={
                "row": str(request.id),
                "request_id": request.http_request_id,
                "trace": request.traceparent,
                "series": request.callback_series,
                "attempt": number,
                "status": outcome.status_code,
                "ms": outcome.response_time_ms,
            },
        )
        if not recorded:
            return
        moved = replace(request, callback_status=status, callback_attempts=number, callback_base=entry.base)
        self._logged(row, request.run_id)
        self._published([moved])
        if wait is not None:
            self._wait(moved, wait)

    def _wait_after(self, number: int, outcome: AttemptResult) -> float:
        return wait_after(
            number,
            self._policy.waits,
            retry_after=outcome.retry_after,
            jitter=self._policy.jitter,
            random=random.random(),
        )

    def _base(self, request: Request) -> str:
        """Where the links of a callback lead: as its first attempt said, wherever the service listens by now."""
        return request.callback_base or self._base_url()

    async def _attempt(self, client: Client, request: Request, *, known: bool) -> AttemptResult:
        body = dumps(callback_event(request, self._base(request)))
        target = self._target(request)
        if isinstance(target, Refusal):
            message = f"{target.reason}: {target.detail}"
            return AttemptResult(
                success=False, reason=Reason.REFUSED, error_message=message, response_time_ms=0, final=True
            )
        now = self._clock.now()
        headers = signing.headers(self.secrets, message_id(request), int(now.timestamp()), body)
        headers["webhook-attempt"] = str(request.callback_attempts + 1)
        if request.traceparent and (context := tracing.parse_traceparent([request.traceparent])):
            headers["traceparent"] = tracing.child(context, self._entropy).traceparent
        return await attempt(client, target, body, headers, timeout=self._policy.timeout, now=now, known=known)

    def _target(self, request: Request) -> CallbackTarget | Refusal:
        """Where this callback is dialed: the demo receiver of whichever replica delivers, or the URL as given."""
        url = request.callback_url or ""
        demo = self._demo()
        if request.callback_demo:
            if demo is None:
                return Refusal("own-route", "This replica has no demo receiver.")
            url = demo_url(demo, resource_of(url))
        return self._guard.check_url(url)

    def _wait(self, request: Request, wait: float) -> None:
        if wait <= SHORT_S and len(self._timers) < MOST_TIMERS:
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
        """Claims the next attempts of requests as they were read; what somebody else claimed is left to them."""
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

    async def sweep(self, late: timedelta) -> int:
        """Takes on what has been due for `late` and is held by nobody, as far as there is room; says how many."""
        if declined := [id for id in self._declined if id not in self._held]:
            self._declined.clear()
            await store.give_back(self._connections, self._owner, declined)
        taken = 0
        for _ in range(MOST_SWEEPS):
            rooms, elsewhere = self._queues.rooms, self._queues.room_elsewhere
            found = await store.claim_due(
                self._connections,
                self._owner,
                self._lease,
                SWEEP,
                late,
                rooms,
                elsewhere,
                self.held,
                self._guard.origins,
            )
            offered = sum([self.offer(request) for request in found])
            taken += offered
            if not offered or len(found) < SWEEP:
                break
        return taken


def message_id(request: Request) -> str:
    """The `webhook-id`: one for all attempts of a request, in all its series; a resend is the same message."""
    return f"msg_{request.id.hex}_1"


def origin(request: Request) -> str:
    """The key of a request's queue."""
    return request.callback_origin or ""


def health_of(reason: str | None, response_time_ms: float) -> DestinationHealth | None:
    """What an attempt says of its destination; nothing when it was never on the wire."""
    match reason:
        case None | Reason.STATUS:
            return DestinationHealth.PROMPT if response_time_ms <= PROMPT_MS else DestinationHealth.LATE
        case Reason.REFUSED:
            return None
        case _:
            return DestinationHealth.SILENT


def demo_url(receiver: OwnReceiver, path: str) -> str:
    """A path of the demo receiver as the URL that this replica dials."""
    host = f"[{receiver.address}]" if receiver.address.version == 6 else str(receiver.address)
    return f"{receiver.scheme}://{host}:{receiver.port}{path}"
