"""Runs a benchmark: the generator's process on one end, slots and a recorder of its own on the other.

A run's requests take the same way through the service as all others, but their own slots, so that nobody else's work is
measured; they are claimed by the replica that runs it, and fail with it.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from reportsim.benchmark.evidence import Conditions
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.predict import predict
from reportsim.benchmark.protocol import CALLBACK_PATH, Order
from reportsim.benchmark.recorder import Recorder
from reportsim.benchmark.samples import Samples
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.verdict import conclude
from reportsim.core.callback_urls import OwnReceiver
from reportsim.core.model import Mode
from reportsim.core.problems import Problem
from reportsim.engine.engine import Engine
from reportsim.store import runs as store
from reportsim.store.pool import OUTAGES

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=30)
EMPTY_S: Final = 600.0
PROGRESS_S: Final = 0.5
MOST_LINE: Final = 1 << 20


@dataclass(eq=False, slots=True)
class Run:
    """A run in progress: who may speak for it, and what the server has seen of it."""

    id: UUID
    plan: Plan
    recorder: Recorder
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    owner: UUID = field(default_factory=uuid.uuid4)
    task: "asyncio.Task[None] | None" = None

    @property
    def progress(self) -> float:
        """The share of both sides' requests that have ended."""
        return min(self.recorder.ended / (2 * self.plan.count), 1.0)


class Runner:
    """Starts runs, one at a time, and keeps what came of them."""

    def __init__(self, engine: Engine) -> None:
        """Makes a runner of one replica."""
        self._engine = engine
        self._run: Run | None = None

    @property
    def current(self) -> Run | None:
        """The run in progress on this replica."""
        return self._run

    def with_token(self, token: str | None) -> Run | None:
        """The run that a token speaks for."""
        run = self._run
        return run if run is not None and token is not None and secrets.compare_digest(run.token, token) else None

    async def start(self, plan: Plan) -> UUID:
        """Stores a run and begins it.

        Raises:
            AlreadyRunning: another has not ended, here or on another replica.
        """
        engine = self._engine
        await store.bury(engine.pool, died())
        run = Run(engine.new_id(), plan, Recorder(plan.count))
        prediction = predict(plan)
        await store.insert(
            engine.pool,
            run.id,
            plan.as_json(),
            prediction,
            owner=engine.owner,
            lease=LEASE,
            at=engine.clock.now(),
        )
        self._run = run
        run.task = asyncio.create_task(self._live(run, prediction), name=f"benchmark-{run.id}")
        return run.id

    async def cancel(self, run_id: UUID) -> bool:
        """Ends a run early; False when it has ended."""
        cancelled = await store.end(self._engine.pool, run_id, "CANCELLED", at=self._engine.clock.now())
        if cancelled and self._run is not None and self._run.id == run_id and self._run.task is not None:
            self._run.task.cancel()
        return cancelled

    async def close(self) -> None:
        """Cancels what runs and waits for its end."""
        if self._run is not None and self._run.task is not None:
            self._run.task.cancel()
            await asyncio.gather(self._run.task, return_exceptions=True)

    async def _live(self, run: Run, prediction: dict[str, Any]) -> None:
        engine = self._engine
        outcome: dict[str, Any] = {"status": "CANCELLED"}
        telling = asyncio.create_task(self._tell(run))
        try:
            await store.start(engine.pool, run.id)
            outcome = await self._measure(run, prediction)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("benchmark %s failed", run.id)
            outcome = {"status": "FAILED", "error": Problem("internal-error", f"The run failed: {error}").as_json()}
        finally:
            telling.cancel()
            self._run = None
            with contextlib.suppress(*OUTAGES):
                await asyncio.shield(store.end(engine.pool, run.id, **{"at": engine.clock.now(), **outcome}))
            engine.hub.publish_event("benchmark", {"id": str(run.id), "status": outcome["status"], "progress": 1.0})

    async def _tell(self, run: Run) -> None:
        """Says how far the run is, and keeps its lease."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(PROGRESS_S)
            data = {"id": str(run.id), "status": "RUNNING", "progress": round(run.progress, 4)}
            self._engine.hub.publish_event("benchmark", data)
            if time.monotonic() - renewed > LEASE.total_seconds() / 3:
                renewed = time.monotonic()
                with contextlib.suppress(*OUTAGES):
                    await store.renew(self._engine.pool, self._engine.owner, LEASE)

    async def _measure(self, run: Run, prediction: dict[str, Any]) -> dict[str, Any]:
        engine, plan = self._engine, run.plan
        assert engine.demo is not None
        order = Order(
            url=engine.own_url,
            token=run.token,
            secrets=engine.secret_texts,
            plan=plan.as_json(),
            drain_s=EMPTY_S,
        )
        load = os.getloadavg()[0]
        spent, began = time.process_time(), time.monotonic()
        async with generator(order) as (say, hear), engine.run_worker(run.owner, plan.workers, run.recorder) as slots:
            receiver = OwnReceiver(ip_address("127.0.0.1"), (await hear())["port"], CALLBACK_PATH)
            with engine.guard.admitting(receiver):
                say()
                await hear()
                starts: dict[Mode, dict[int, float]] = {mode: {} for mode in Mode}
                for block in plan.blocks:
                    await emptied(run.recorder, lambda: slots.busy == 0)
                    say()
                    starts[block.mode][block.number] = (await hear())["start"]
                await emptied(run.recorder, lambda: slots.busy == 0)
                final = await hear()
                packed = [await hear.bytes(length) for length in final["lengths"]]
        cpu = (time.process_time() - spent) / max(time.monotonic() - began, 0.001)
        samples = {mode: Samples.unpack(part) for mode, part in zip(Mode, packed, strict=True)}
        integrals = {mode: run.recorder.complete(samples[mode], (starts[mode][0], starts[mode][1])) for mode in Mode}
        conditions = Conditions(
            server_loop_lag_p99_ms=None,
            generator_loop_lag_p99_ms=final["loop_lag_p99_ms"],
            server_cpu_share=cpu,
            generator_cpu_share=final["cpu_share"],
            load_average=load,
            pool_waits=final["pool_waits"],
            gc_pause_sum_ms=final["gc_pause_sum_ms"],
            gc_pause_max_ms=final["gc_pause_max_ms"],
        )
        result = conclude(plan, make_schedule(plan), prediction, samples, integrals, conditions)
        return {
            "status": "COMPLETED",
            "result": result,
            "samples": (samples[Mode.SYNC].pack(), samples[Mode.ASYNC].pack()),
        }


def died() -> dict[str, Any]:
    """The error of a run whose replica went away."""
    return Problem("gave-up", "The replica that ran it died.").as_json()


async def emptied(recorder: Recorder, idle: Callable[[], bool]) -> None:
    """Waits until a side has nothing left to do, for clients that left included."""
    async with asyncio.timeout(EMPTY_S):
        while recorder.waiting or not idle():
            await asyncio.sleep(0.01)


class Ears:
    """Reads what the generator writes."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        """Listens to a pipe."""
        self._stream = stream

    async def __call__(self) -> dict[str, Any]:
        """The next line."""
        text = await self._stream.readline()
        if not text:
            raise ConnectionError("the generator ended early")
        value: dict[str, Any] = json.loads(text)
        return value

    async def bytes(self, length: int) -> bytes:
        """So many bytes."""
        return await self._stream.readexactly(length)


@contextlib.asynccontextmanager
async def generator(order: Order) -> AsyncIterator[tuple[Callable[[], None], Ears]]:
    """The generator's process, as long as the block lasts; the first tells it to go on, the second hears it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "reportsim.benchmark.generator",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MOST_LINE,
        env={name: value for name, value in os.environ.items() if not name.startswith("REPORTSIM_")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    writing = process.stdin
    try:
        writing.write(order.encode())
        yield lambda: writing.write(b"\n"), Ears(process.stdout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
