"""Runs a benchmark: the generator's process on one end, slots and a recorder of its own on the other.

A run's requests take the same way through the service as all others, but have slots of their own, so that nobody else's
work is measured; they are claimed by the replica that runs it, and fail with it. Whatever takes computing is done by
the generator's process: the loop of the service only carries it.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from yarl import URL

from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.load.completion import ASKING
from reportsim.benchmark.load.messages import CALLBACK_PATH, LONGEST_LINE, Message, Order, encode, receive
from reportsim.benchmark.load.process_monitor import monitored_process, watch_arrivals
from reportsim.benchmark.plan import MOST_DRAIN_S, Cancel, Plan, Side
from reportsim.benchmark.server_recorder import Recorder
from reportsim.core.callback_policy.urls import OwnReceiver
from reportsim.core.model import Mode, Status
from reportsim.core.problems import Problem, unavailable
from reportsim.engine.engine import Engine
from reportsim.engine.worker.worker import Worker
from reportsim.store import benchmarks as store
from reportsim.store.batcher import Batcher, Overloaded
from reportsim.store.pool import OUTAGES, persist
from reportsim.tasks import in_background, start

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=10)
RENEW_EVERY_S: Final = 2.0
BURY_EVERY_S: Final = 5.0
PROGRESS_S: Final = 0.5
EMPTY_LOOK_S: Final = 0.01
LONGEST_EMPTY_LOOK_S: Final = 0.25
# What writing down the end of a run may take while the database is away, and when the service is stopping as well.
FINISH_S: Final = 30.0
STOP_S: Final = 5.0
# What predicting or concluding may take, and a block beyond its load.
COMPUTING_S: Final = 120.0
SETTLING_S: Final = MOST_DRAIN_S + 300.0
BATCH: Final = 5_000
DROPPED: Final = {Cancel.QUEUED: (Status.PENDING,), Cancel.RUNNING: (Status.PENDING, Status.PROCESSING)}


RETRIED: Final = (*OUTAGES, *store.CONFLICTS)


class Ended(Exception):
    """Somebody else has ended the run."""


@dataclass(eq=False, slots=True)
class Run:
    """A run in progress: who may speak for it, and what the server has seen of it."""

    id: UUID
    plan: Plan
    recorder: Recorder
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    owners: dict[str, UUID] = field(default_factory=dict)
    """Whose slots each side's requests have: in a race each side has its own."""
    task: "asyncio.Task[None] | None" = None
    """Its whole life; nobody cancels it, so that whatever ends a run is also written down."""
    measuring: "asyncio.Task[None] | None" = None
    stopped: bool = False
    stage: str = "PENDING"
    origin: str | None = None
    """Where its callbacks go."""
    dropping: Batcher[UUID, bool] | None = None
    _leavers: "set[asyncio.Task[None]]" = field(default_factory=set)

    def __post_init__(self) -> None:
        shared = uuid.uuid4()
        self.owners = {side.name: uuid.uuid4() if self.plan.together else shared for side in self.plan.sides}

    @property
    def progress(self) -> float:
        """The share of both sides' requests that no worker is needed for any more."""
        return min(self.recorder.over / max(2 * self.recorder.count, 1), 1.0)

    def stop(self) -> None:
        """Ends the measurement early, once: a second time would interrupt the first one's cleaning up."""
        if not self.stopped and self.measuring is not None:
            self.measuring.cancel()
        self.stopped = True

    def left(self, row: UUID) -> None:
        """The client of a sync request has left."""
        if self.dropping is not None:
            task = start(self._drop(self.dropping, row), name=f"drop-{row}")
            self._leavers.add(task)
            task.add_done_callback(self._leavers.discard)

    async def _drop(self, dropping: Batcher[UUID, bool], row: UUID) -> None:
        try:
            await dropping.submit(row)
        except (*OUTAGES, Overloaded) as error:
            log.warning("request %s, whose client left, could not be dropped: %r", row, error)


class Visit:
    """A request of a run on its way through the service, from its first line to its answer."""

    def __init__(self, run: Run, side: Side, index: int | None) -> None:
        """Belongs to a side of a run; nothing is recorded of what has no index."""
        self.run = run
        self._side = side
        self._index = index
        self._row: UUID | None = None
        self._opened = 0.0

    @property
    def owner(self) -> UUID:
        """Whose slots it takes."""
        return self.run.owners[self._side.name]

    def takes(self, row: UUID) -> None:
        """Its row is about to be written."""
        self._row = row
        if self._index is not None:
            self.run.recorder.takes(row, self._side.name, self._index)

    def __enter__(self) -> Self:
        if self._index is not None:
            self._opened = self.run.recorder.opens(self._side.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._index is not None:
            self.run.recorder.closes(self._side.name, self._index, self._opened)
        if kind is asyncio.CancelledError and self._row is not None and self._side.mode is Mode.SYNC:
            self.run.left(self._row)


class Runner:
    """Starts runs, one at a time, and keeps what came of them."""

    def __init__(self, engine: Engine) -> None:
        """Makes the runner of one replica."""
        self._engine = engine
        self._run: Run | None = None
        self._starting: set[asyncio.Task[UUID]] = set()
        self._closed = False

    @property
    def current(self) -> Run | None:
        """The run in progress on this replica."""
        return self._run

    def progress_of(self, id: UUID) -> float:
        """How far a run is, as far as this replica knows."""
        return self._run.progress if self._run is not None and self._run.id == id else 0.0

    def visit(self, mode: Mode, token: str | None, index: str | None) -> Visit | None:
        """The part that a request has in the run in progress; None when its token speaks for none."""
        run = self._run
        if run is None or token is None or not secrets.compare_digest(run.token.encode(), token.encode()):
            return None
        name, _, digits = (index or "").partition("-")
        own = [side for side in run.plan.sides if side.mode is mode]
        side = next((side for side in own if side.name == name), own[0] if own else run.plan.sides[0])
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 8 else None
        return Visit(run, side, number if number is not None and number < run.recorder.count else None)

    async def start(self, plan: Plan) -> UUID:
        """Stores a run and begins it.

        Raises:
            AlreadyRunning: another has not ended, here or on another replica.
            Problem: the service is stopping, or does not know its own address.
        """
        if self._closed:
            raise unavailable("The service is stopping.")
        if self._engine.own_url is None:
            raise unavailable("The service does not know its own address.")
        # Whoever asked may leave meanwhile: a run that is stored must also be run.
        starting = start(self._start(plan), name="benchmark-start", handled=(Exception,))
        self._starting.add(starting)
        starting.add_done_callback(self._started)
        return await asyncio.shield(starting)

    async def _start(self, plan: Plan) -> UUID:
        engine = self._engine
        await self._bury()
        run = Run(engine.new_id(), plan, Recorder([side.name for side in plan.sides]))
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
            starting.exception()  # whoever asked may have left

    async def cancel(self, id: UUID) -> bool:
        """Ends a run early, on whatever replica; False when it has ended."""
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
        """Looks after runs as long as the block lasts; one that is not over by then has failed."""
        async with in_background(self._bury_forever(), names=("benchmark-undertaker",)):
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

    async def _live(self, run: Run) -> None:
        """The whole life of a run; whatever happens, it ends, and so does all that belongs to it."""
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

    async def _measure_and_store(self, run: Run) -> None:
        result, *samples = await self._measure(run)
        await self._end_requests(run.id)
        stored = await persist(
            lambda: store.complete(
                self._engine.pool, run.id, result.decode(), (samples[0], samples[1]), self._engine.clock.now()
            ),
            through=RETRIED,
        )
        if not stored:
            raise Ended

    def _failure_of(self, run: Run, measuring: "asyncio.Task[None]") -> dict[str, Any] | None:
        """Why a measurement came to no result; None where it did, or where somebody else has ended the run."""
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

    async def _finish(self, run: Run, error: dict[str, Any] | None) -> None:
        """Writes down the end of a run, for as long as it may take the database to come back."""
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

    async def _keep(self, run: Run) -> None:
        """Says how far the run is, and keeps its lease; a run that was ended elsewhere is stopped."""
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

    async def _measure(self, run: Run) -> list[bytes]:
        """The result as JSON, and both sides' samples packed."""
        engine, plan = self._engine, run.plan
        load = os.getloadavg()[0]
        async with generator() as peer:
            own = URL(engine.own_url or "")
            order = Order(
                run=str(run.id),
                host=own.host or "",
                port=own.port or 0,
                host_header=own.authority,
                token=run.token,
                secrets=list(engine.secret_texts),
                plan=plan.as_json(),
            )
            hello = await peer.ask(order.as_json(), within=COMPUTING_S)
            if not await store.start(engine.pool, run.id, hello.parts[0].decode(), engine.clock.now()):
                raise Ended
            run.stage = "RUNNING"
            run.recorder.expect(hello.value["count"])
            base = URL(hello.value["callback_base"])
            run.origin = str(base.origin())
            receiver = OwnReceiver(ip_address(base.host or ""), base.port or 0, CALLBACK_PATH)
            with engine.guard.admitting(receiver):
                async with contextlib.AsyncExitStack() as stack:
                    workers = [
                        await stack.enter_async_context(engine.run_worker(owner, plan.workers, run.recorder))
                        for owner in dict.fromkeys(run.owners.values())
                    ]
                    await stack.enter_async_context(dropping(engine, run))
                    await peer.ask({}, within=SETTLING_S)
                    async with monitored_process() as monitor:
                        for _ in plan.steps:
                            await self._emptied(run, workers)
                            async with watch_arrivals(monitor, plan.block_s):
                                await peer.ask({}, within=plan.block_s + SETTLING_S)
                        await self._emptied(run, workers)
                    for _ in ASKING if plan.ways else ():
                        await peer.ask({}, within=plan.block_s + SETTLING_S)
                        await self._emptied(run, workers)
            conditions = Conditions(
                server_loop_lag_p99_ms=monitor.lag_p99_ms,
                server_cpu_share=monitor.cpu_share,
                load_average=load,
                gc_pause_sum_ms=monitor.pause_sum_ms,
                gc_pause_max_ms=monitor.pause_max_ms,
            )
            areas, columns = run.recorder.dump()
            final = await peer.ask({"areas": areas, "conditions": asdict(conditions)}, *columns, within=COMPUTING_S)
        return final.parts

    async def _emptied(self, run: Run, workers: Sequence[Worker]) -> None:
        """Waits until a side has nothing left to do or to call back, for clients that left included."""
        wait = EMPTY_LOOK_S
        try:
            async with asyncio.timeout(SETTLING_S) as limit:
                await run.recorder.empty()
                while await store.has_open_requests(self._engine.pool, run.id, run.origin):
                    for worker in workers:
                        worker.wake()
                    await asyncio.sleep(wait)
                    wait = min(1.5 * wait, LONGEST_EMPTY_LOOK_S)
        except TimeoutError:
            if not limit.expired():  # the database's
                raise
            detail = f"Requests or callbacks of the run had not ended {SETTLING_S:g} s after their load."
            raise Problem("benchmark-failed", detail) from None


@contextlib.asynccontextmanager
async def dropping(engine: Engine, run: Run) -> AsyncIterator[None]:
    """Drops what clients that left were waiting for, as the plan wants it, as long as the block lasts."""
    states = DROPPED.get(run.plan.cancel)
    if states is None:
        yield
        return

    owner = next((run.owners[side.name] for side in run.plan.sides if side.mode is Mode.SYNC), uuid.uuid4())

    async def drop(rows: Sequence[UUID]) -> list[bool]:
        await engine.changes.drop(owner, rows, states)
        return [True] * len(rows)

    batcher: Batcher[UUID, bool] = Batcher(drop, name="drop", waiting=max(run.recorder.count, 1))
    async with batcher.running():
        run.dropping = batcher
        try:
            yield
        finally:
            run.dropping = None


def died() -> dict[str, Any]:
    """The error of a run whose replica went away."""
    return failure("The replica that ran it died.")


def failure(detail: str) -> dict[str, Any]:
    """The error of a run that did not come to its end."""
    return Problem("benchmark-failed", detail).as_json()


class Peer:
    """The generator's process: one question, one answer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Speaks over the process's pipes."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._writer, self._reader = process.stdin, process.stdout

    async def ask(self, value: dict[str, Any], *parts: bytes, within: float) -> Message:
        """Sends a message and waits for the answer."""
        try:
            async with asyncio.timeout(within):
                self._writer.write(encode(value, *parts))
                await self._writer.drain()
                return await receive(self._reader)
        except TimeoutError:
            detail = f"The generator's process has not answered for {within:g} s."
        except (EOFError, OSError):
            detail = "The generator's process ended early."
        raise Problem("benchmark-failed", detail)


@contextlib.asynccontextmanager
async def generator() -> AsyncIterator[Peer]:
    """The generator's process, as long as the block lasts."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "reportsim.benchmark.load.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            env={name: value for name, value in os.environ.items() if not name.startswith("REPORTSIM_")},
        )
    except OSError as error:
        raise Problem("benchmark-failed", f"The generator's process could not be started: {error.strerror}") from None
    try:
        yield Peer(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
