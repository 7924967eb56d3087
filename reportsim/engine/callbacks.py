"""Callback delivery: an in-process queue for speed, the table for certainty.

What ends is queued here; a lane per destination keeps one slow receiver from holding up the others. Waits between
attempts run on the loop's clock and stand in the table too, where the sweeper finds those that a crash left behind.
"""

import asyncio
import contextlib
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

import aiohttp
from yarl import URL

from reportsim.core import signing, tracing
from reportsim.core.backoff import wait_after
from reportsim.core.callback_urls import CallbackTarget, OwnReceiver, Refusal
from reportsim.core.clock import Clock
from reportsim.core.encoding import dumps
from reportsim.core.model import CallbackLog, CallbackStatus, Request, callback_event
from reportsim.engine.delivery import Outcome, Reason, attempt
from reportsim.engine.guard import Guard, open_client
from reportsim.store import callbacks as store
from reportsim.store.batcher import Batcher
from reportsim.store.pool import OUTAGES, Pool, persist

log = logging.getLogger(__name__)

PER_DESTINATION: Final = 8
AT_ONCE: Final = 256
HELD: Final = 10_000


@dataclass(slots=True)
class Lane:
    """What goes to one destination: some deliveries on the wire, the others in line."""

    waiting: deque[Request] = field(default_factory=deque)
    active: int = 0
    in_turn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How callbacks are made: the settings that delivery depends on."""

    waits: tuple[float, ...]
    attempts: int
    timeout: float


class Courier:
    """Delivers the callbacks of ended requests, at least once each."""

    def __init__(
        self,
        *,
        pool: Pool,
        owner: UUID,
        lease: timedelta,
        policy: Policy,
        guard: Guard,
        published: Callable[[list[Request]], None],
        logged: Callable[[CallbackLog, UUID | None], None],
        clock: Clock,
        new_id: Callable[[], UUID],
        base_url: Callable[[], str],
        demo: Callable[[], OwnReceiver | None],
    ) -> None:
        """Makes a courier; `demo` is where this replica's own demo receiver listens."""
        self._pool = pool
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
        self._queue: asyncio.Queue[Request] = asyncio.Queue(HELD)
        self._lanes: dict[str, Lane] = {}
        self._turns: deque[Lane] = deque()
        self._held: set[UUID] = set()
        self._timers: dict[UUID, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming: set[asyncio.Task[None]] = set()
        self._claims: Batcher[store.Claim, Request | None] = Batcher(
            lambda claims: store.claim(pool, owner, lease, claims), name="claim-callback"
        )
        self._records: Batcher[store.Attempt, bool] = Batcher(
            lambda attempts: store.record(pool, attempts), name="record-attempt"
        )

    @property
    def held(self) -> list[UUID]:
        """The requests whose next attempt this replica has claimed."""
        return list(self._held)

    @property
    def room(self) -> int:
        """How many more deliveries may be taken on."""
        return max(HELD - len(self._held) - len(self._timers), 0)

    def offer(self, request: Request) -> bool:
        """Takes on an ended request whose next attempt is claimed already; False when there is no room."""
        if request.id in self._held or not self.room:
            return False
        self._held.add(request.id)
        self._queue.put_nowait(request)
        return True

    @contextlib.asynccontextmanager
    async def running(self, grace: float) -> AsyncIterator["Courier"]:
        """Delivers as long as the block lasts; then attempts on the wire get `grace` seconds."""
        async with self._claims.running(), self._records.running(), open_client(self._guard) as session:
            dispatcher = asyncio.create_task(self._dispatch(session), name="courier")
            try:
                yield self
            finally:
                dispatcher.cancel()
                self._turns.clear()
                for lane in self._lanes.values():
                    lane.waiting.clear()
                self._stop_waiting()
                if tasks := self._tasks | self._claiming:
                    await asyncio.wait(tasks, timeout=grace)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                self._stop_waiting()

    def _stop_waiting(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def _dispatch(self, session: aiohttp.ClientSession) -> None:
        while True:
            request = await self._queue.get()
            key = destination(request)
            lane = self._lanes.setdefault(key, Lane())
            lane.waiting.append(request)
            self._line_up(lane)
            self._pump(session)

    def _line_up(self, lane: Lane) -> None:
        """Gives a destination its turn, unless it has one, nothing waits for it, or it has its share."""
        if lane.waiting and lane.active < PER_DESTINATION and not lane.in_turn:
            lane.in_turn = True
            self._turns.append(lane)

    def _pump(self, session: aiohttp.ClientSession) -> None:
        """Starts deliveries while there is room on the wire: one for each destination in turn."""
        while self._turns and len(self._tasks) < AT_ONCE:
            lane = self._turns.popleft()
            lane.in_turn = False
            request = lane.waiting.popleft()
            lane.active += 1
            task = asyncio.create_task(self._deliver(session, request), name=f"deliver-{request.id}")
            self._tasks.add(task)
            task.add_done_callback(functools.partial(self._delivered, session, lane, destination(request)))
            self._line_up(lane)

    def _delivered(self, session: aiohttp.ClientSession, lane: Lane, key: str, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        lane.active -= 1
        if not task.cancelled() and (error := task.exception()):
            log.error("a delivery ended badly", exc_info=error)
        if not lane.active and not lane.waiting:
            self._lanes.pop(key, None)
        if not task.cancelled():
            self._line_up(lane)
            self._pump(session)

    async def _deliver(self, session: aiohttp.ClientSession, request: Request) -> None:
        try:
            await self._attempt_and_record(session, request)
        except Exception:
            # No longer held, its lease runs out, and the sweeper makes the attempt again.
            self._held.discard(request.id)
            raise

    async def _attempt_and_record(self, session: aiohttp.ClientSession, request: Request) -> None:
        outcome = await self._attempt(session, request)
        number = request.callback_attempts + 1
        over = outcome.success or outcome.final or number >= self._policy.attempts
        wait = None if over else wait_after(number, self._policy.waits, retry_after=outcome.retry_after)
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
        )
        recorded = await persist(lambda: self._records.submit(entry))
        self._held.discard(request.id)
        log.info(
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
        moved = replace(request, callback_status=status, callback_attempts=number)
        self._logged(row, request.run_id)
        self._published([moved])
        if wait is not None:
            self._wait(moved, wait)

    async def _attempt(self, session: aiohttp.ClientSession, request: Request) -> Outcome:
        body = dumps(callback_event(request, self._base_url()))
        target = self._target(request)
        if isinstance(target, Refusal):
            message = f"{target.reason}: {target.detail}"
            return Outcome(success=False, reason=Reason.REFUSED, error_message=message, response_time_ms=0, final=True)
        now = self._clock.now()
        headers = signing.headers(self.secrets, message_id(request), int(now.timestamp()), body)
        headers["webhook-attempt"] = str(request.callback_attempts + 1)
        if request.traceparent and (context := tracing.parse_traceparent([request.traceparent])):
            headers["traceparent"] = tracing.child(context).traceparent
        return await attempt(session, target, body, headers, timeout=self._policy.timeout, now=now)

    def _target(self, request: Request) -> CallbackTarget | Refusal:
        """Where this callback is dialed: the demo receiver of whichever replica delivers, or the URL as given."""
        url = request.callback_url or ""
        demo = self._demo()
        if request.callback_demo:
            if demo is None:
                return Refusal("own-route", "This replica has no demo receiver.")
            url = demo_url(demo, URL(url).raw_path_qs)
        return self._guard.check_url(url)

    def _wait(self, request: Request, wait: float) -> None:
        if self.room:
            loop = asyncio.get_running_loop()
            self._timers[request.id] = loop.call_later(wait, self._due, request)

    def _due(self, request: Request) -> None:
        self._timers.pop(request.id, None)
        task = asyncio.create_task(self.take([request]), name=f"claim-callback-{request.id}")
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
            except OUTAGES as error:
                log.warning("the claim of callback %s is left to the sweeper: %s", request.id, error)
                continue
            if claimed:
                self.offer(claimed)

    async def sweep(self, late: timedelta) -> int:
        """Takes on what has been due for `late` and is held by nobody; says how many."""
        limit = min(self.room, AT_ONCE)
        if not limit:
            return 0
        found = await store.claim_due(self._pool, self._owner, self._lease, limit, late)
        for request in found:
            self.offer(request)
        return len(found)


def message_id(request: Request) -> str:
    """The `webhook-id`: one for all attempts of a request and series."""
    return f"msg_{request.id.hex}_{request.callback_series}"


def destination(request: Request) -> str:
    """The key of a request's lane: the origin of its URL."""
    try:
        return str(URL(request.callback_url or "").origin())
    except ValueError:
        return ""


def demo_url(receiver: OwnReceiver, path: str) -> str:
    """A path of the demo receiver as the URL that this replica dials."""
    host = f"[{receiver.address}]" if receiver.address.version == 6 else str(receiver.address)
    return f"{receiver.scheme}://{host}:{receiver.port}{path}"
