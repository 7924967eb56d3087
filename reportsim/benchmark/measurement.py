"""The measurement of one run: the generator's process at one end, worker slots and a recorder at the other."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from ipaddress import ip_address
from typing import Final
from uuid import UUID

from yarl import URL

from reportsim.benchmark.active_run import ActiveRun
from reportsim.benchmark.checks.model import Conditions
from reportsim.benchmark.generator_process import GeneratorProcess, run_generator
from reportsim.benchmark.load.completion import ASKING
from reportsim.benchmark.load.messages import CALLBACK_PATH, Message, Order
from reportsim.benchmark.load.process_monitor import ProcessMonitor, monitored_process, watch_arrivals
from reportsim.benchmark.plan import MOST_DRAIN_S, Cancel
from reportsim.core.callback_policy.urls import OwnReceiver
from reportsim.core.model import Mode, Status
from reportsim.core.problems import Problem
from reportsim.engine.engine import Engine
from reportsim.engine.worker.worker import Worker
from reportsim.store import benchmarks as store
from reportsim.store.batcher import Batcher
from reportsim.store.pool import OUTAGES

EMPTY_POLL_S: Final = 0.01
LONGEST_EMPTY_POLL_S: Final = 0.25
# What the prediction and the conclusion may take, and a block beyond its load.
COMPUTING_S: Final = 120.0
SETTLING_S: Final = MOST_DRAIN_S + 300.0
DROPPED: Final = {Cancel.QUEUED: (Status.PENDING,), Cancel.RUNNING: (Status.PENDING, Status.PROCESSING)}


class Ended(Exception):
    """The run was ended by another process or request."""


class Measurement:
    """Measures one run."""

    def __init__(self, engine: Engine, run: ActiveRun) -> None:
        """Belongs to a run of this replica."""
        self._engine = engine
        self._run = run

    async def measure(self) -> list[bytes]:
        """The result as JSON, and both sides' samples packed.

        Raises:
            Ended: The run has ended before it began.
            Problem: It cannot be measured.
        """
        load_average = os.getloadavg()[0]
        async with run_generator() as generator:
            hello = await generator.ask(self._order().as_json(), within=COMPUTING_S)
            await self._begin(hello)
            base = URL(hello.value["callback_base"])
            receiver = OwnReceiver(ip_address(base.host or ""), base.port or 0, CALLBACK_PATH)
            with self._engine.guard.admitting(receiver):
                try:
                    monitor = await self._run_blocks(generator)
                finally:
                    self._run.has_load = False
            plug = self._run.plug
            conditions = Conditions(
                server_loop_lag_p99_ms=monitor.lag_p99_ms,
                server_cpu_share=monitor.cpu_share,
                load_average=load_average,
                gc_pause_sum_ms=monitor.pause_sum_ms,
                gc_pause_max_ms=monitor.pause_max_ms,
                plug_pulled=plug is not None,
            )
            areas, columns = self._run.recorder.dump()
            records = {"areas": areas, "conditions": asdict(conditions), "plug": plug and asdict(plug)}
            final = await generator.ask(records, *columns, within=COMPUTING_S)
        return final.parts

    def _order(self) -> Order:
        own = URL(self._engine.addresses.own_url or "")
        return Order(
            run=str(self._run.id),
            host=own.host or "",
            port=own.port or 0,
            host_header=own.authority,
            token=self._run.token,
            secrets=list(self._engine.secret_texts),
            plan=self._run.plan.as_json(),
        )

    async def _begin(self, hello: Message) -> None:
        """Stores the prediction, and prepares for as many requests as the generator has planned."""
        run, engine = self._run, self._engine
        if not await store.start(engine.pool, run.id, hello.parts[0].decode(), engine.clock.now()):
            raise Ended
        run.stage = "RUNNING"
        run.recorder.expect(hello.value["count"])
        run.origin = str(URL(hello.value["callback_base"]).origin())

    async def _run_blocks(self, generator: GeneratorProcess) -> ProcessMonitor:
        run, plan = self._run, self._run.plan
        async with contextlib.AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(self._engine.run_worker(owner, plan.workers, run.recorder))
                for owner in dict.fromkeys(run.owners.values())
            ]
            await stack.enter_async_context(drop_abandoned(self._engine, run))
            await generator.ask({}, within=SETTLING_S)
            run.has_load = True
            async with monitored_process() as monitor:
                for _ in plan.steps:
                    await self._wait_until_empty(workers)
                    async with watch_arrivals(monitor, plan.block_s):
                        await generator.ask({}, within=plan.block_s + SETTLING_S)
                await self._wait_until_empty(workers)
            for _ in ASKING if plan.ways else ():
                await generator.ask({}, within=plan.block_s + SETTLING_S)
                await self._wait_until_empty(workers)
        return monitor

    async def _wait_until_empty(self, workers: Sequence[Worker]) -> None:
        """Waits until nothing is left to do or to call back, also for clients that left."""
        wait, run = EMPTY_POLL_S, self._run
        try:
            async with asyncio.timeout(SETTLING_S) as limit:
                await run.recorder.empty()
                while await self._has_open_requests():
                    for worker in workers:
                        worker.wake()
                    await asyncio.sleep(wait)
                    wait = min(1.5 * wait, LONGEST_EMPTY_POLL_S)
        except TimeoutError:
            if not limit.expired():  # the database's own
                raise
            detail = f"Requests or callbacks of the run had not ended {SETTLING_S:g} s after their load."
            raise Problem("benchmark-failed", detail) from None

    async def _has_open_requests(self) -> bool:
        """Whether anything is left to do; an outage ends the run, unless it was asked for."""
        run = self._run
        try:
            return await store.has_open_requests(self._engine.pool, run.id, run.origin)
        except OUTAGES:
            if run.plug is None:
                raise
            return True


@contextlib.asynccontextmanager
async def drop_abandoned(engine: Engine, run: ActiveRun) -> AsyncIterator[None]:
    """Drops the requests of clients that left, as the plan wants it, for as long as the context lasts."""
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
