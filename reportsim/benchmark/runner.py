"""Starts, keeps and ends benchmark runs.

A run's requests take the same way through the service as all others, but have slots of their own, so that no other
work is measured; they are claimed by the replica that runs it, and fail with it. Computing is done by the generator's
process, so that the event loop of the service is free.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final, Self
from uuid import UUID

from reportsim.benchmark.active_run import ActiveRun, RunRequest
from reportsim.benchmark.measurement import Ended, Measurement
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.server_recorder import Recorder
from reportsim.core.model import Mode
from reportsim.core.problems import Problem, unavailable
from reportsim.engine.engine import Engine
from reportsim.store import benchmarks as store
from reportsim.store.pool import OUTAGES, persist
from reportsim.tasks import in_background, start

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=10)
RENEW_EVERY_S: Final = 2.0
BURY_EVERY_S: Final = 5.0
PROGRESS_S: Final = 0.5
# What writing down the end of a run may take while the database is away, and when the service is stopping as well.
FINISH_S: Final = 30.0
STOP_S: Final = 5.0
BATCH: Final = 5_000
RETRIED: Final = (*OUTAGES, *store.CONFLICTS)


class Runner:
    """Starts runs, one at a time, and stores their results."""

    def __init__(self, engine: Engine) -> None:
        """Makes the runner of one replica."""
        self._engine = engine
        self._run: ActiveRun | None = None
        self._starting: set[asyncio.Task[UUID]] = set()
        self._closed = False

    @property
    def current(self) -> ActiveRun | None:
        """The run in progress on this replica."""
        return self._run

    def progress_of(self, id: UUID) -> float:
        """How far a run is, as far as this replica knows."""
        return self._run.progress if self._run is not None and self._run.id == id else 0.0

    def find_request(self, mode: Mode, token: str, index: str | None, arrived: float) -> RunRequest | None:
        """What a request is in the run in progress; None when its token is not that of a run.

        It arrived at that moment of the monotonic clock.
        """
        run = self._run
        if run is None or not secrets.compare_digest(run.token.encode(), token.encode()):
            return None
        name, _, digits = (index or "").partition("-")
        own = [side for side in run.plan.sides if side.mode is mode]
        side = next((side for side in own if side.name == name), own[0] if own else run.plan.sides[0])
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 8 else None
        return RunRequest(run, side, number if number is not None and number < run.recorder.count else None, arrived)

    async def start(self, plan: Plan) -> UUID:
        """Stores a run and begins it.

        Raises:
            AlreadyRunning: another has not ended, here or on another replica.
            Problem: the service is stopping, or does not know its own address.
        """
        if self._closed:
            raise unavailable("The service is stopping.")
        if self._engine.addresses.own_url is None:
            raise unavailable("The service does not know its own address.")
        # The caller may be cancelled meanwhile: a run that is stored must also be run.
        starting = start(self._start(plan), name="benchmark-start", handled=(Exception,))
        self._starting.add(starting)
        starting.add_done_callback(self._started)
        return await asyncio.shield(starting)

    async def _start(self, plan: Plan) -> UUID:
        engine = self._engine
        await self._bury()
        # The page of a race shows all of its requests from the beginning; how many other runs have is drawn.
        recorder = Recorder([side.name for side in plan.sides], plan.expected_count if plan.together else 0)
        run = ActiveRun(engine.new_id(), plan, recorder)
        await store.insert(engine.pool, run.id, plan.as_json(), owner=engine.owner, lease=LEASE, at=engine.clock.now())
        if self._run is not None and self._run.task is not None:
            # It has ended, but for what it leaves behind.
            await asyncio.wait([self._run.task])
        self._run = run
        run.task = start(self._live(run), name=f"benchmark-{run.id}")
        if self._closed:
            run.stop()
        return run.id

    def _started(self, starting: "asyncio.Task[UUID]") -> None:
        self._starting.discard(starting)
        if not starting.cancelled():
            starting.exception()  # the caller may have been cancelled

    async def cancel(self, id: UUID) -> bool:
        """Ends a run early, on any replica; False when it has ended."""
        cancelled = await store.cancel(self._engine.pool, id, self._engine.clock.now())
        run = self._run
        if cancelled and run is not None and run.id == id and run.task is not None:
            run.stop()
            await asyncio.wait([run.task])
        return cancelled

    async def ended(self, id: UUID, seconds: float) -> None:
        """Waits for the end of a run, at most some seconds; what another replica runs is looked at now and then."""
        run = self._run
        if run is not None and run.id == id and run.task is not None:
            await asyncio.wait([run.task], timeout=seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._closed:
                    if await store.has_ended_by_now(self._engine.pool, id):
                        break
                    await asyncio.sleep(PROGRESS_S)

    def stop(self) -> None:
        """Begins no run any more, and ends the one in progress: the service is stopping."""
        self._closed = True
        if self._run is not None:
            self._run.stop()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Manages runs for as long as the context lasts; one that is still running then fails."""
        async with in_background(self._bury_forever(), names=("benchmark-sweeper",)):
            try:
                yield self
            finally:
                self.stop()
                if self._starting:
                    await asyncio.wait(self._starting, timeout=STOP_S)
                if self._run is not None and (life := self._run.task) is not None:
                    await asyncio.wait([life], timeout=2 * STOP_S)
                    life.cancel()

    async def _bury_forever(self) -> None:
        while True:
            try:
                await self._bury()
            except OUTAGES as error:
                log.warning("could not look for runs whose replica died: %r", error)
            except Exception:
                log.exception("could not look for runs whose replica died")
            await asyncio.sleep(BURY_EVERY_S)

    async def _bury(self) -> None:
        """Fails the runs whose replica died, with all that is left of them."""
        pool = self._engine.pool
        own = self._run.id if self._run is not None else None
        for id in await store.bury(pool, died(), self._engine.clock.now(), own):
            log.warning("benchmark %s has failed: its replica died", id)
            self._tell(id, "FAILED", 1.0)
            await self._end_requests(id)
        if self._run is None:
            for id in await store.find_orphaned(pool):
                await self._end_requests(id)

    async def _end_requests(self, id: UUID) -> None:
        pool, error = self._engine.pool, Problem("cancelled", "The benchmark that it was part of is over.").as_json()
        ended = BATCH
        while ended == BATCH:
            ended = await persist(
                lambda: store.end_requests(pool, id, error, self._engine.clock.now(), BATCH), through=store.CONFLICTS
            )

    def _tell(self, id: UUID, status: str, progress: float, **more: Any) -> None:
        data = {"id": str(id), "status": status, "progress": round(progress, 4), **more}
        self._engine.hub.publish_event("benchmark", data)

    async def _live(self, run: ActiveRun) -> None:
        """Runs a benchmark from start to end; all that belongs to it is cleaned up in any case."""
        keeping = start(self._keep(run), name=f"benchmark-lease-{run.id}")
        try:
            measuring = self._measure_and_store(run)
            run.measuring = start(measuring, name=f"benchmark-measuring-{run.id}", handled=(Exception,))
            if run.stopped:
                run.measuring.cancel()
            await asyncio.wait([run.measuring])
            await self._finish(run, self._failure_of(run, run.measuring))
        finally:
            keeping.cancel()
            self._run = None

    async def _measure_and_store(self, run: ActiveRun) -> None:
        result, *samples = await Measurement(self._engine, run).measure()
        await persist(lambda: self._end_requests(run.id), through=RETRIED)
        stored = await persist(
            lambda: store.complete(
                self._engine.pool, run.id, result.decode(), (samples[0], samples[1]), self._engine.clock.now()
            ),
            through=RETRIED,
        )
        if not stored:
            raise Ended

    def _failure_of(self, run: ActiveRun, measuring: "asyncio.Task[None]") -> dict[str, Any] | None:
        """Why a measurement has no result; None if it has one, or if the run was ended elsewhere."""
        if run.stopped:
            return failure("The service was stopped while it ran.") if self._closed else None
        match None if measuring.cancelled() else measuring.exception():
            case None | Ended():
                return None
            case Problem() as problem:
                return problem.as_json()
            case error if isinstance(error, OUTAGES):
                log.warning("benchmark %s failed: %r", run.id, error)
                return failure(f"The database was away while it ran: {str(error) or type(error).__name__}")
            case error:
                log.error("benchmark %s failed", run.id, exc_info=error)
                return failure(f"The run failed: {str(error) or type(error).__name__}")

    async def _finish(self, run: ActiveRun, error: dict[str, Any] | None) -> None:
        """Stores the end of a run, and waits for the database within a bound."""
        pool, status = self._engine.pool, None
        try:
            async with asyncio.timeout(STOP_S if self._closed else FINISH_S):
                await persist(lambda: self._end_requests(run.id), through=RETRIED)
                if error is not None:
                    await persist(lambda: store.fail(pool, run.id, error, self._engine.clock.now()), through=RETRIED)
                status = await persist(lambda: store.status_of(pool, run.id), through=RETRIED)
        except TimeoutError:
            log.warning("what is left of benchmark %s is ended when its lease is over", run.id)
        except Exception:
            log.exception("what is left of benchmark %s is ended when its lease is over", run.id)
        finally:
            self._tell(run.id, status or "FAILED", 1.0)

    async def _keep(self, run: ActiveRun) -> None:
        """Publishes the progress and renews the lease; a run that was ended elsewhere is stopped."""
        loop = asyncio.get_running_loop()
        due = loop.time() + RENEW_EVERY_S
        while True:
            live = {mode: side.live() for mode, side in run.recorder.sides.items()}
            self._tell(run.id, run.stage, run.progress, live=live)
            await asyncio.sleep(PROGRESS_S)
            if loop.time() >= due:
                due = loop.time() + RENEW_EVERY_S
                try:
                    if not await store.renew(self._engine.pool, run.id, LEASE):
                        run.stop()
                except RETRIED as error:
                    log.warning("the lease of benchmark %s could not be renewed: %r", run.id, error)
                except Exception:
                    log.exception("the lease of benchmark %s could not be renewed", run.id)


def died() -> dict[str, Any]:
    """The error of a run whose replica went away."""
    return failure("The replica that ran it died.")


def failure(detail: str) -> dict[str, Any]:
    """The error of a run that did not come to its end."""
    return Problem("benchmark-failed", detail).as_json()
