"""The worker: claims as many requests as slots are free, makes their reports, finishes them.

The table is the queue. A hint only wakes the claimer early; without one it looks every second.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

from reportsim.core.answers import blocking_answer
from reportsim.core.clock import Clock
from reportsim.core.encoding import dumps
from reportsim.core.model import Mode, Request, Status
from reportsim.core.problems import Problem
from reportsim.engine.simulate import draw
from reportsim.engine.slots import Slots
from reportsim.reports.files import ReportFiles
from reportsim.reports.generate import LedgerDeleted, Report, generate
from reportsim.store import requests as store
from reportsim.store.batcher import Batcher
from reportsim.store.pool import AWAY, OUTAGES, Fetches, Lends, persist

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
MOST_TAKEOVERS: Final = 5


@dataclass(frozen=True, slots=True)
class Made:
    """A report and its file."""

    report: Report
    sha256: str
    bytes: int


@dataclass(eq=False, slots=True)
class Work:
    """A claimed request being worked on."""

    task: "asyncio.Task[None]"
    tries: int
    since: float
    """From when on the slot is held for it, on the monotonic clock."""
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


class Unobserved:
    """Does not want to know."""

    def queued(self, id: UUID) -> None:
        """Nothing."""

    def started(self, id: UUID, moment: float) -> float:
        """Nothing."""
        return moment

    def ended(self, id: UUID) -> None:
        """Nothing."""


async def make_report(lines: Lends, files: ReportFiles, request: Request) -> Made:
    """Writes a request's report into its file."""
    # A claim that a crash of the database undid is made again with the same `tries`, which thus names no writer.
    with files.draft(request.id, uuid4().hex) as draft:
        report = await generate(lines, request, draft)
    return Made(report, draft.sha256, draft.bytes)


class Worker:
    """Turns waiting requests into ended ones."""

    def __init__(
        self,
        *,
        lines: Fetches,
        owner: UUID,
        lease: timedelta,
        slots: Slots,
        clock: Clock,
        make: Callable[[Request], Awaitable[Made]],
        discard: Callable[[UUID], None],
        published: Callable[[list[Request]], None],
        ended: Callable[[Request], None],
        courier: UUID | None = None,
        only_own: bool = False,
        observer: Observer | None = None,
    ) -> None:
        """Makes a worker.

        `make` does the work and `discard` undoes it when the request fails all the same; `published` takes new
        states, `ended` the requests that this worker ended. `courier` is who owns their callbacks, if not this owner;
        a worker of `only_own` claims nothing but what belongs to its owner from the beginning.
        """
        self._lines = lines
        self._owner = owner
        self._lease = lease
        self._slots = slots
        self._make = make
        self._discard = discard
        self._clock = clock
        self._published = published
        self._ended = ended
        self._only_own = only_own
        self._observer = observer or Unobserved()
        self._hinted = asyncio.Event()
        self._works: dict[UUID, Work] = {}
        self._looked = float("-inf")
        self.lost_fences = 0
        self.draining = False
        self._finish: Batcher[store.Finish, bool] = Batcher(
            lambda ends: store.finish(lines, owner, lease, ends, courier), name="finish"
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
        self._hinted.set()

    def expect(self, request: Request) -> None:
        """Says that a request is there to be claimed."""
        self._observer.queued(request.id)
        self.hint()

    def stop_superseded(self, request: Request) -> None:
        """Stops working on a request that has been claimed or ended elsewhere since."""
        work = self._works.get(request.id)
        if work is None and request.ended:
            self._observer.ended(request.id)
        elif work is not None and request.tries > work.tries:
            work.task.cancel()

    @contextlib.asynccontextmanager
    async def running(self, grace: Callable[[], float]) -> AsyncIterator["Worker"]:
        """Claims as long as the block lasts; then running work gets `grace` seconds, and the rest is stopped."""
        async with self._finish.running(grace):
            claimer = asyncio.create_task(self._claim_forever(), name="claimer")
            try:
                yield self
            finally:
                claimer.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await claimer
                if tasks := [work.task for work in self._works.values()]:
                    await asyncio.wait(tasks, timeout=grace())
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._hinted.wait()
            self._hinted.clear()
            try:
                while await self._claim_free_slots():
                    pass
            except OUTAGES as error:
                log.warning("claiming failed: %r", error)
                # Whoever is alive renews its leases before anybody takes it for dead.
                self._looked = time.monotonic() + self._lease.total_seconds() / 2
                await asyncio.sleep(LOOK_EVERY_S)
            except Exception:
                log.exception("claiming failed")
                await asyncio.sleep(LOOK_EVERY_S)

    async def _claim_free_slots(self) -> bool:
        """Fills the free slots; False when nothing was found."""
        free = [await self._slots.acquire()]
        free += self._slots.take_free()
        now = self._clock.now()
        only_own = self.draining or self._only_own
        claimed: list[Request] = []
        try:
            if not only_own and time.monotonic() - self._looked >= LOOK_EVERY_S:
                claimed = await store.take_over(self._lines, self._owner, len(free), self._lease, now)
                if len(claimed) < len(free):
                    self._looked = time.monotonic()
            if len(claimed) < len(free):
                claimed += await store.claim(
                    self._lines,
                    self._owner,
                    len(free) - len(claimed),
                    self._lease,
                    now,
                    only_own=only_own,
                )
        finally:
            self._slots.give_back(free[len(claimed) :])
            for request, free_since in zip(claimed, free, strict=False):
                self._start(request, free_since)
        self._published(claimed)
        return bool(claimed)

    def _start(self, request: Request, free_since: float) -> None:
        """Begins with a claimed request: its slot has been held for it since both were there."""
        if (older := self._works.get(request.id)) is not None:
            # Its lease ran out, or a crash of the database undid its claim.
            older.task.cancel()
        now = time.monotonic()
        age = (self._clock.now() - request.created_at).total_seconds()
        since = self._observer.started(request.id, min(max(free_since, now - age), now))
        task = asyncio.create_task(self._work(request), name=f"work-{request.id}")
        work = self._works[request.id] = Work(task, request.tries, since)
        task.add_done_callback(lambda _: self._done(request.id, work))

    def _let_go(self, id: UUID, work: Work) -> None:
        """Frees the slot of a work, once."""
        if work.holds_slot:
            work.holds_slot = False
            self._slots.release()
            self._observer.ended(id)

    def _done(self, request_id: UUID, work: Work) -> None:
        self._let_go(request_id, work)
        if self._works.get(request_id) is work:
            del self._works[request_id]
        if not work.task.cancelled() and (error := work.task.exception()):
            log.error("work on %s ended badly", request_id, exc_info=error)

    async def _work(self, request: Request) -> None:
        work = self._works[request.id]
        ended = await self._outcome(request, work.since)
        # Writing the end waits for the disk, and needs no slot for that.
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
        found = await persist(lambda: store.get(self._lines, [request.id]))
        if any((row.tries, row.completed_at) == (request.tries, request.completed_at) for row in found):
            return True
        self.lost_fences += 1
        log.warning("request %s was taken over; its result is dropped", request.id)
        # Those who wait for its end are told of it.
        self._published(found)
        return False
