"""The worker: takes as many requests as slots are free, makes their reports, finishes them.

The table is the queue. A hint only wakes the claimer early; without one it looks every second. What is this owner's own
from the beginning nobody else may take: while nothing else waits, it begins without asking the table, and that it began
is written down only when the work takes longer than a moment, or else with its end.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from reportsim.core.clock import Clock
from reportsim.core.json import dumps
from reportsim.core.model import Mode, Request, Status
from reportsim.core.problems import Problem
from reportsim.core.service_time import draw
from reportsim.core.stored_response import blocking_answer
from reportsim.engine.slots import Slots
from reportsim.reports.files import ReportFiles
from reportsim.reports.generate import LedgerDeleted, Report, generate
from reportsim.store import requests as store
from reportsim.store.batcher import Batcher
from reportsim.store.pool import AWAY, OUTAGES, Fetches, Lends, persist
from reportsim.tasks import in_background, start

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
MOST_TAKEOVERS: Final = 5
MOMENT_S: Final = 0.05
MOST_EXPECTED: Final = 10_000
# Ends that may wait to be written without holding slots; well below what a batcher takes.
MOST_ENDING: Final = 1_000
# A client that holds all slots but one gets the last one only for what is planned to be shorter.
LONG_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Made:
    """A report and its file."""

    report: Report
    sha256: str
    bytes: int


@dataclass(eq=False, slots=True)
class Work:
    """A request being worked on."""

    request: Request
    task: "asyncio.Task[None]"
    since: float
    """From when on the slot is held for it, on the monotonic clock."""
    began: float
    written: bool
    """Whether its row says that it is worked on."""
    holds_slot: bool = True


class Observer(Protocol):
    """Whoever wants to know what becomes of requests, and when, on the monotonic clock."""

    def queued(self, id: UUID) -> None:
        """The request waits, after its COMMIT."""
        ...

    def started(self, id: UUID, moment: float) -> float:
        """A slot is held for it since that moment, or since it was queued; returns which."""
        ...

    def ended(self, id: UUID) -> None:
        """Its slot is free again, or it was dropped from the queue."""
        ...


class NullObserver:
    """Does not want to know."""

    def queued(self, id: UUID) -> None:
        """Nothing."""

    def started(self, id: UUID, moment: float) -> float:
        """Nothing."""
        return moment

    def ended(self, id: UUID) -> None:
        """Nothing."""


def is_passed_over(request: Request, rule: store.PassOver | None) -> bool:
    """Whether a rule keeps a request from the last slot."""
    return rule is not None and request.client == rule.client and request.planned_s > rule.longer_than_s


async def make_report(connections: Lends, files: ReportFiles, request: Request) -> Made:
    """Writes a request's report into its file."""
    with files.draft(request.id) as draft:
        report = await generate(connections, request, draft)
    return Made(report, draft.sha256, draft.bytes)


class Worker:
    """Turns waiting requests into ended ones."""

    def __init__(
        self,
        *,
        connections: Fetches,
        owner: UUID,
        lease: timedelta,
        slots: Slots,
        clock: Clock,
        make: Callable[[Request], Awaitable[Made]],
        discard: Callable[[UUID], None],
        published: Callable[[list[Request]], None],
        ended: Callable[[Request], None],
        dispatcher: UUID | None = None,
        only_own: bool = False,
        observer: Observer | None = None,
    ) -> None:
        """Makes a worker.

        `make` does the work and `discard` undoes it when the request fails all the same; `published` takes new
        states, `ended` the requests that this worker ended. `dispatcher` owns their callbacks, by default this owner;
        a worker of `only_own` claims nothing but what belongs to its owner from the beginning.
        """
        self._connections = connections
        self._owner = owner
        self._lease = lease
        self._slots = slots
        self._make = make
        self._discard = discard
        self._clock = clock
        self._published = published
        self._ended = ended
        self._only_own = only_own
        self._observer = observer or NullObserver()
        self._hinted = asyncio.Event()
        self._works: dict[UUID, Work] = {}
        self._expected: dict[UUID, Request] = {}
        self._table_first = True
        self._left_out = False
        self._passed_over = False
        self._began = asyncio.Event()
        self._looked = float("-inf")
        self.lost_fences = 0
        self.draining = False
        self._finish: Batcher[store.Finish, bool] = Batcher(
            lambda ends: store.finish(connections, owner, lease, ends, dispatcher), name="finish"
        )

    @property
    def slots(self) -> Slots:
        """The capacity that this worker takes from."""
        return self._slots

    @property
    def running_ids(self) -> set[UUID]:
        """The requests that are being worked on here."""
        return set(self._works)

    def hint(self) -> None:
        """Says that there may be something to claim."""
        self._table_first = True
        self._hinted.set()

    def expect(self, request: Request, owner: UUID | None) -> None:
        """Says that a request is there, after its COMMIT: the owner's own, or anyone's."""
        self._observer.queued(request.id)
        if request.id in self._works:
            # A look at the table has found it before this news of it came.
            return
        if owner == self._owner and len(self._expected) < MOST_EXPECTED:
            self._expected[request.id] = request
            self._hinted.set()
        else:
            self._left_out |= owner == self._owner
            self.hint()

    def stop_superseded(self, request: Request) -> None:
        """Stops working on a request that has been claimed or ended elsewhere since."""
        expected = self._expected.get(request.id)
        if expected is not None and (request.status is not Status.PENDING or request.tries > expected.tries):
            # What only still waits keeps its turn.
            del self._expected[request.id]
        work = self._works.get(request.id)
        if work is None and request.ended:
            self._observer.ended(request.id)
        elif work is not None and request.tries > work.request.tries:
            work.task.cancel()

    @contextlib.asynccontextmanager
    async def running(self, grace: Callable[[], float]) -> AsyncIterator["Worker"]:
        """Claims as long as the block lasts; then running work gets `grace` seconds, and the rest is stopped."""
        async with self._finish.running(grace):
            try:
                async with in_background(
                    self._take_forever(), self._write_begun_forever(), names=("claimer", "beginner")
                ):
                    yield self
            finally:
                if tasks := [work.task for work in self._works.values()]:
                    await asyncio.wait(tasks, timeout=grace())
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._hinted.wait()
            self._hinted.clear()
            try:
                while await self._fill_free_slots():
                    pass
            except OUTAGES as error:
                log.warning("claiming failed: %r", error)
                # Whoever is alive renews its leases before anybody takes it for dead.
                self._looked = time.monotonic() + self._lease.total_seconds() / 2
                await asyncio.sleep(LOOK_EVERY_S)
            except Exception:
                log.exception("claiming failed")
                await asyncio.sleep(LOOK_EVERY_S)

    async def _fill_free_slots(self) -> bool:
        """Fills free slots, from the table or from memory; False when memory has nothing either."""
        free = [await self._slots.acquire()]
        free += self._slots.take_free()
        taken: list[Request] = []
        written = self._table_first or time.monotonic() - self._looked >= LOOK_EVERY_S
        try:
            if written:
                await self._claim(len(free), taken)
            else:
                taken += self._next_expected(len(free))
        finally:
            self._slots.give_back(free[len(taken) :])
            for request, free_since in zip(taken, free, strict=False):
                self._start(request, free_since, written=written)
            if written:
                self._published(taken)
        # A look leaves out what another statement is at.
        return written or bool(taken)

    async def _claim(self, limit: int, claimed: list[Request]) -> None:
        """Takes what the table says: what others left, what is anyone's, and the owner's own, oldest first."""
        now = self._clock.now()
        only_own = self.draining or self._only_own
        # A hint from now on may be of something that this look does not see any more.
        left_out, self._left_out = self._left_out, False
        self._table_first = False
        more = True
        try:
            if time.monotonic() - self._looked >= LOOK_EVERY_S:
                if not only_own:
                    await self._pick(
                        limit,
                        claimed,
                        lambda room, pass_over: store.take_over(
                            self._connections, self._owner, room, self._lease, now, pass_over
                        ),
                    )
                if len(claimed) < limit:
                    self._looked = time.monotonic()
            begun = [id for id, work in self._works.items() if not work.written]
            await self._pick(
                limit,
                claimed,
                lambda room, pass_over: store.claim(
                    self._connections,
                    self._owner,
                    room,
                    self._lease,
                    now,
                    only_own=only_own,
                    begun=begun,
                    pass_over=pass_over,
                ),
            )
            # What memory does not know may be left: something of anyone's, or of the owner's own.
            more = len(claimed) == limit and (
                left_out
                or any(request.id not in self._expected for request in claimed)
                or (not only_own and await store.anyones_wait(self._connections))
            )
        finally:
            self._table_first |= more
            self._left_out |= left_out and (more or self._passed_over)

    async def _pick(
        self,
        limit: int,
        taken: list[Request],
        take: Callable[[int, store.PassOver | None], Awaitable[list[Request]]],
    ) -> None:
        """Takes until there are `limit`, the last one apart where it would fill the last slot for one client."""
        room = limit - len(taken)
        if room > 1 and self._may_fill_up(taken):
            taken += await take(room - 1, None)
            if len(taken) < limit - 1:
                return
            room = 1
        if room > 0:
            taken += await take(room, self._last_slot_rule(taken) if room == 1 else None)

    def _clients(self, taken: Sequence[Request]) -> list[bytes | None]:
        """Whose requests hold slots, with what has been taken for free ones."""
        working = [work.request.client for work in self._works.values() if work.holds_slot]
        return working + [request.client for request in taken]

    def _may_fill_up(self, taken: Sequence[Request]) -> bool:
        """Whether one client may come to hold every slot."""
        clients = set(self._clients(taken))
        return not self._only_own and self._slots.width > 1 and len(clients) <= 1 and None not in clients

    def _last_slot_rule(self, taken: Sequence[Request]) -> store.PassOver | None:
        """Whose long requests are not given the last free slot: those of the client that holds all the others."""
        clients = self._clients(taken)
        if len(clients) != self._slots.width - 1 or len(set(clients)) != 1 or clients[0] is None:
            return None
        self._passed_over = True
        return store.PassOver(clients[0], LONG_S)

    def _next_expected(self, limit: int) -> list[Request]:
        """Takes the oldest of the owner's own from memory."""
        now = self._clock.now()
        oldest = list(itertools.islice(self._expected.values(), limit - 1))
        rule = self._last_slot_rule(oldest) if len(self._expected) >= limit else None
        rest = itertools.islice(self._expected.values(), limit - 1, None)
        oldest += itertools.islice((request for request in rest if not is_passed_over(request, rule)), 1)
        for request in oldest:
            del self._expected[request.id]
        if oldest:
            self._began.set()
        return [
            replace(
                request,
                status=Status.PROCESSING,
                tries=request.tries + 1,
                started_at=max(now, request.created_at),
            )
            for request in oldest
        ]

    async def _write_begun_forever(self) -> None:
        """Writes down what began from memory and takes longer than a moment."""
        while True:
            await self._began.wait()
            self._began.clear()
            while any(not work.written for work in self._works.values()):
                await asyncio.sleep(MOMENT_S)
                try:
                    await self._write_begun(time.monotonic() - MOMENT_S)
                except OUTAGES as error:
                    log.warning("what began could not be written down: %r", error)
                    await asyncio.sleep(LOOK_EVERY_S)
                except Exception:
                    log.exception("what began could not be written down")
                    await asyncio.sleep(LOOK_EVERY_S)

    async def _write_begun(self, before: float) -> None:
        late = [work for work in self._works.values() if not work.written and work.holds_slot and work.began <= before]
        if late:
            written = await store.begin(self._connections, self._owner, self._lease, [work.request for work in late])
            for work in late:
                work.written = work.request.id in written
            self._published([work.request for work in late if work.written])

    def _start(self, request: Request, free_since: float, *, written: bool) -> None:
        """Begins with a request: its slot has been held for it since both were there."""
        self._expected.pop(request.id, None)
        if (older := self._works.get(request.id)) is not None:
            # Its lease ran out, or a crash of the database undid its claim.
            older.task.cancel()
        now = time.monotonic()
        age = (self._clock.now() - request.created_at).total_seconds()
        since = self._observer.started(request.id, min(max(free_since, now - age), now))
        task = start(self._work(request), name=f"work-{request.id}", handled=(Exception,))
        work = self._works[request.id] = Work(request, task, since, now, written)
        task.add_done_callback(lambda _: self._done(request.id, work))

    def _let_go(self, id: UUID, work: Work) -> None:
        """Frees the slot of a work, once."""
        if work.holds_slot:
            work.holds_slot = False
            self._slots.release()
            self._observer.ended(id)
            if self._passed_over:
                self._passed_over = False
                self.hint()

    def _done(self, request_id: UUID, work: Work) -> None:
        self._let_go(request_id, work)
        if self._works.get(request_id) is work:
            del self._works[request_id]
        if not work.task.cancelled() and (error := work.task.exception()):
            log.error("work on %s ended badly", request_id, exc_info=error)

    async def _work(self, request: Request) -> None:
        work = self._works[request.id]
        ended = await self._outcome(request, work.since)
        # Writing the end waits for the disk, and needs no slot for that, unless the database is too slow or away.
        if len(self._works) < self._slots.width + MOST_ENDING:
            self._let_go(request.id, work)
        await self._end(ended)

    async def _outcome(self, request: Request, since: float) -> Request:
        try:
            made = await self._execute(request, since)
        except Problem as problem:
            return self._failed(request, problem)
        except LedgerDeleted:
            return self._failed(request, Problem("report-failed", "The ledger was deleted."))
        except Exception:
            log.exception("request %s failed unexpectedly", request.id)
            return self._failed(request, Problem("report-failed", "The report failed unexpectedly."))
        return self._completed(request, made, time.monotonic() - since)

    async def _execute(self, request: Request, since: float) -> Made:
        if request.takeovers >= MOST_TAKEOVERS:
            raise Problem("gave-up", f"Whoever worked on it died, {request.takeovers} times.")
        simulate = request.input_payload.get("simulate")
        drawn = draw(simulate) if simulate else None
        # What else a database says of a report, it would only say again.
        made = await persist(lambda: self._make(request), through=AWAY)
        if drawn:
            await asyncio.sleep(since + drawn.service_s - time.monotonic())
            if drawn.fails:
                raise Problem("report-failed", "The failure that simulate asked for.", {"simulated": True})
        return made

    def _completed(self, request: Request, made: Made, service: float) -> Request:
        now = self._clock.now()
        total = max((now - request.created_at).total_seconds(), 0)
        timings = {"queue": 1000 * max(total - service, 0), "service": 1000 * service, "total": 1000 * total}
        parameters = request.input_payload
        window: dict[str, Any] = {name: parameters[name] for name in ("from", "to", "as_of") if name in parameters}
        result: dict[str, Any] = {
            "report_type": parameters["report_type"],
            "file": request.file,
            "rows": made.report.rows,
            "bytes": made.bytes,
            "sha256": made.sha256,
            "currency": made.report.currency,
            "exponent": made.report.exponent,
            **window,
            "totals": made.report.totals,
            "checks": made.report.checks,
            "timings_ms": {name: round(value, 3) for name, value in timings.items()},
        }
        return replace(request, status=Status.COMPLETED, result_payload=result, completed_at=now)

    def _failed(self, request: Request, problem: Problem) -> Request:
        return replace(request, status=Status.FAILED, error=problem.as_json(), completed_at=self._clock.now())

    async def _end(self, request: Request) -> None:
        """Writes the end for as long as it takes the database to be there; a lost fence drops it."""
        assert request.completed_at is not None
        status, body = blocking_answer(request) if request.mode is Mode.SYNC else (None, None)
        end = store.Finish(
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
        if not await persist(lambda: self._finish.submit(end)) and not await self._has_ended(request):
            return
        if request.status is Status.FAILED:
            self._discard(request.id)
        self._published([request])
        # The statement that ended it has claimed its callback for this replica, too.
        self._ended(replace(request, callback_fence=request.callback_fence + 1) if request.callback_url else request)

    async def _has_ended(self, request: Request) -> bool:
        """Whether an end that was refused stands all the same, because it was written and only the answer got lost."""
        found = await persist(lambda: store.get(self._connections, [request.id]))
        if any((row.tries, row.completed_at) == (request.tries, request.completed_at) for row in found):
            return True
        self.lost_fences += 1
        log.warning("request %s was taken over; its result is dropped", request.id)
        # Those who wait for its end are told of it.
        self._published(found)
        return False
