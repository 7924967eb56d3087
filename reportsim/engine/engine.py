"""The engine: everything between an accepted request and its delivered callback, behind one door."""

import asyncio
import contextlib
import functools
import hashlib
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from uuid import UUID

from yarl import URL

from reportsim.core import signing
from reportsim.core.callback_policy.addresses import parse_address
from reportsim.core.callback_policy.urls import OwnReceiver
from reportsim.core.clock import Clock
from reportsim.core.identifiers import Entropy, UUID7Generator
from reportsim.core.model import CallbackLog, Mode, Request, Status
from reportsim.core.problems import Problem, unavailable
from reportsim.core.stored_response import blocking_answer
from reportsim.engine.delivery.dispatcher import DeliveryPolicy, Dispatcher
from reportsim.engine.delivery.ssrf_guard import SsrfGuard
from reportsim.engine.event_hub import EventHub
from reportsim.engine.leases import Leases
from reportsim.engine.ledger_cache import LedgerCache
from reportsim.engine.regeneration import ReportRegenerator
from reportsim.engine.replication import Replication
from reportsim.engine.slots import Slots
from reportsim.engine.sweeper import Sweeper
from reportsim.engine.worker import Observer, Worker, make_report
from reportsim.reports.files import ReportFiles
from reportsim.settings import Settings
from reportsim.store import callbacks as callback_store
from reportsim.store import requests as store
from reportsim.store.batcher import Batcher
from reportsim.store.engine_connections import EngineConnections
from reportsim.store.pool import OUTAGES, Pool, persist, share_connections
from reportsim.tasks import in_background, start

log = logging.getLogger(__name__)

T = TypeVar("T")

DEMO_PATH: Final = "/webhook-test/"
LOOK_AGAIN_S: Final = 5.0
RELEASE_S: Final = 5.0
TOO_MUCH_WAITING_S: Final = 5
OPEN: Final = (Status.PENDING, Status.PROCESSING)


def too_much_waiting() -> Problem:
    """The refusal of what goes beyond the bounds of one client's waiting work."""
    return unavailable("As much of this client's work is waiting as may wait at once.", TOO_MUCH_WAITING_S)


@dataclass(slots=True)
class Counts:
    """What this replica has done since its start."""

    accepted: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[str] = field(default_factory=Counter)


class Engine:
    """Accepts requests, works on them, delivers their callbacks, and says what happened."""

    def __init__(self, *, settings: Settings, dsn: str, pool: Pool, clock: Clock) -> None:
        """Builds the parts; they work while `running` is entered.

        The pool is for those who ask from outside. The engine's own tasks have lines of their own, and reports others:
        a long COPY must not keep a small statement waiting.
        """
        self.owner = uuid.uuid4()
        self.pool = pool
        shares = share_connections(dsn, settings.pool_size)
        self._connections = EngineConnections(dsn, statement_cache=settings.statement_cache, size=shares.engine)
        self._report_connections = EngineConnections(dsn, statement_cache=settings.statement_cache, size=shares.reports)
        self.readiness = EngineConnections(dsn, statement_cache=0, size=1, cancel_timeout=0.0)
        self.clock = clock
        self.entropy = Entropy()
        self.new_id = UUID7Generator(entropy=self.entropy)
        self.counts = Counts()
        self.hub = EventHub()
        self.slots = Slots(settings.workers)
        self.files = ReportFiles(settings.reports_dir, settings.reports_max_mb * 1_000_000)
        self.regenerator = ReportRegenerator(
            connections=self._report_connections, files=self.files, slots=self.slots, timeout=settings.sync_timeout
        )
        self.ledgers = LedgerCache(pool)
        self.base_url = settings.public_url or f"http://{settings.host}:{settings.port}"
        self.demo: OwnReceiver | None = None
        self.guard = SsrfGuard(settings.callback_allow, [])
        self.secret_texts: tuple[str, ...] = ()
        self._settings = settings
        self._lease = timedelta(seconds=settings.lease_s)
        self._bounds = store.Bounds(settings.client_waiting, settings.client_planned_s)
        self._stop_at = float("inf")
        self._changing: set[asyncio.Task[Any]] = set()
        self.worker = self._worker(self.owner, self.slots)
        self._workers = {self.owner: self.worker}
        self.dispatcher = Dispatcher(
            connections=self._connections,
            owner=self.owner,
            lease=self._lease,
            policy=DeliveryPolicy(
                waits=settings.callback_waits,
                jitter=settings.callback_jitter,
                attempts=settings.callback_attempts,
                timeout=settings.callback_timeout,
                rate=settings.callback_rate,
            ),
            guard=self.guard,
            published=self.publish,
            logged=self._logged,
            clock=clock,
            new_id=self.new_id,
            base_url=lambda: self.base_url,
            demo=lambda: self.demo,
        )
        self._inserts: Batcher[store.NewRequest, bool] = Batcher(self._insert, name="insert")
        self._leases = Leases(
            dsn=dsn, owner=self.owner, lease=self._lease, worker=self.worker, dispatcher=self.dispatcher
        )
        self._replication = Replication(
            dsn=dsn,
            pool=pool,
            hub=self.hub,
            heard=self._heard,
            concerns=lambda: self.hub.awaited.union(*(worker.running_ids for worker in self._workers.values())),
        )
        self._sweeper = Sweeper(
            pool=pool,
            worker=self.worker,
            dispatcher=self.dispatcher,
            files=self.files,
            retention=timedelta(hours=settings.retention_hours),
            accepted=self.counts.accepted.total,
        )

    def _worker(self, owner: UUID, slots: Slots, observer: Observer | None = None, *, only_own: bool = False) -> Worker:
        return Worker(
            connections=self._connections,
            owner=owner,
            lease=self._lease,
            slots=slots,
            clock=self.clock,
            make=functools.partial(make_report, self._report_connections, self.files),
            discard=lambda request_id: self.files.remove([request_id]),
            published=self.publish,
            ended=self._ended,
            dispatcher=self.owner,
            only_own=only_own,
            observer=observer,
        )

    def listens_on(self, host: str, port: int) -> None:
        """Learns the listening socket's address: where the demo receiver is, and what absolute links start with."""
        address = ip_address(host)
        if address.is_unspecified:
            address = ip_address("::1" if address.version == 6 else "127.0.0.1")
            self.guard.everywhere = port
        self.demo = OwnReceiver(address, port, DEMO_PATH)
        self.guard.own = [self.demo]
        if self._settings.public_url:
            public = URL(self._settings.public_url)
            name = (public.raw_host or "").removesuffix(".").lower()
            self.guard.public = str(parse_address(name) or name), public.port or 0
        self.base_url = self._settings.public_url or str(self.demo).removesuffix(DEMO_PATH)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Engine"]:
        """Works as long as the block lasts; on leaving, what cannot be ended in time is given back."""
        candidate = signing.new_secret()
        given = self._settings.webhook_secret
        texts = given or (await persist(lambda: callback_store.keep_secret(self.pool, candidate)),)
        self.dispatcher.secrets = [signing.parse_secret(text) for text in texts]
        self.secret_texts = tuple(texts)
        if opened := self._settings.callback_allow.networks:
            log.warning("callbacks may also go to %s", ", ".join(map(str, opened)))
        async with self.hub.running(), self._inserts.running():
            try:
                async with (
                    in_background(
                        self._leases.run(),
                        self._sweeper.run(),
                        self._replication.run(),
                        names=("leases", "sweeper", "replication"),
                    ),
                    self.dispatcher.running(self._grace),
                    self.worker.running(self._grace),
                ):
                    yield self
            finally:
                if self._changing:
                    await asyncio.wait(self._changing, timeout=self._grace())
                try:
                    async with asyncio.timeout(RELEASE_S):
                        await store.release(self.pool, self.owner, self.dispatcher.held)
                except (*OUTAGES, TimeoutError) as error:
                    log.warning(
                        "what was held here is free when its leases end: %s", str(error) or type(error).__name__
                    )
                self._connections.close()
                self._report_connections.close()
                self.readiness.close()
                self.files.close()

    @property
    def own_url(self) -> str | None:
        """The listening socket's own address, whatever the public one is; None while it is not known."""
        return str(self.demo).removesuffix(DEMO_PATH) if self.demo else None

    @contextlib.asynccontextmanager
    async def run_worker(self, owner: UUID, workers: int, observer: Observer) -> AsyncIterator[Worker]:
        """A worker with slots of its own, for the requests of one owner alone, as long as the block lasts."""
        worker = self._worker(owner, Slots(workers), observer, only_own=True)
        async with worker.running(lambda: 0.0):
            self._workers[owner] = worker
            try:
                yield worker
            finally:
                del self._workers[owner]

    async def submit(self, new: store.NewRequest) -> bool:
        """Accepts a request: True after its COMMIT.

        False when its key is taken, its ledger has changed since, or its client has as much waiting as it may.
        """
        return await self._inserts.submit(new)

    def hash_client(self, address: str) -> bytes:
        """Who asks, as it is stored: equal for equal addresses on all replicas, and no address to anybody else."""
        key = hashlib.sha256(b"client " + "".join(self.secret_texts[:1]).encode()).digest()
        return hashlib.blake2b(address.encode(), key=key, digest_size=16).digest()

    async def _insert(self, new: Sequence[store.NewRequest]) -> list[bool]:
        """Inserts many, and makes known those that are new: also where whoever submitted one has left meanwhile."""
        inserted = await store.insert(self._connections, self._lease, new, self._bounds)
        accepted = [item for item, fresh in zip(new, inserted, strict=True) if fresh]
        self.publish([item.request for item in accepted])
        for item in accepted:
            self.counts.accepted[item.request.mode] += 1
            self._workers.get(item.owner or self.owner, self.worker).expect(item.request, item.owner)
        return inserted

    async def end_of(self, request_id: UUID, ended: "asyncio.Future[Request]", timeout: float) -> Request | None:
        """Waits for a request's end as the hub's future tells it; None after `timeout` seconds."""
        done, _ = await asyncio.wait([ended], timeout=timeout)
        return ended.result() if done else None

    async def blocking_end(
        self, request_id: UUID, ended: "asyncio.Future[Request]", *, patient: bool = False
    ) -> Request:
        """Waits for the end of a sync request, for ever when `patient`.

        Raises:
            Problem: `no-capacity` when no slot came free in time; the row has failed and its key is free again.
        """
        if patient:
            return await ended
        timeout = self._settings.sync_timeout
        if found := await self.end_of(request_id, ended, timeout):
            return found
        problem = Problem(
            "no-capacity",
            f"No worker slot came free within {timeout:g} s.",
            {"instance": f"/api/requests/{request_id}"},
            {"Retry-After": "1"},
        )
        if await self._to_its_end(self._drop(self.owner, [request_id], [Status.PENDING], problem)):
            raise problem
        while True:
            if found := await self.end_of(request_id, ended, LOOK_AGAIN_S):
                return found
            # Another replica may have ended it without our being told.
            row = await store.get_one(self.pool, request_id)
            if row is not None and row.ended:
                return row

    async def cancel(self, request_id: UUID) -> Request | None:
        """Fails a request that has not ended; None when it has ended, or is unknown."""
        return await self._to_its_end(self._cancel(request_id))

    async def _to_its_end(self, change: Coroutine[Any, Any, T]) -> T:
        """Makes a change of which whoever asked for it may leave: what was committed is made known all the same."""
        task = start(change, name="change", handled=(Problem, *OUTAGES))
        self._changing.add(task)
        task.add_done_callback(self._changing.discard)
        return await asyncio.shield(task)

    async def _cancel(self, request_id: UUID) -> Request | None:
        row = await store.get_one(self.pool, request_id)
        if row is None:
            return None
        error = Problem("cancelled", "It was cancelled before it ended.").as_json()
        ended = replace(row, status=Status.FAILED, error=error)
        failed = await store.abandon(
            self.pool,
            [request_id],
            states=OPEN,
            error=error,
            at=self.clock.now(),
            answer=blocking_answer(ended) if row.mode is Mode.SYNC else None,
        )
        self._stop_working(failed)
        self.files.remove(request.id for request in failed)
        self.publish(failed)
        await self.dispatcher.take(request for request in failed if request.callback_url)
        return failed[0] if failed else None

    async def drop(self, owner: UUID, ids: Sequence[UUID], states: Sequence[Status]) -> None:
        """Fails those of an owner's sync requests whose clients left, if they are in one of some states."""
        await self._to_its_end(self._drop(owner, ids, states, Problem("cancelled", "Its client left.")))

    async def _drop(
        self, owner: UUID, ids: Sequence[UUID], states: Sequence[Status], problem: Problem
    ) -> list[Request]:
        """Fails an owner's own requests that nobody waits for any more, and frees their keys."""
        if Status.PROCESSING not in states:
            # What is worked on does not wait, whatever its row says yet.
            running = self._workers.get(owner, self.worker).running_ids
            ids = [id for id in ids if id not in running]
        if not ids:
            return []
        failed = await store.abandon(
            self.pool,
            ids,
            states=states,
            error=problem.as_json(),
            at=self.clock.now(),
            owner=owner,
            free_key=True,
        )
        self._stop_working(failed)
        self.publish(failed)
        return failed

    def _stop_working(self, failed: Iterable[Request]) -> None:
        for request in failed:
            self.counts.ended[Status.FAILED] += 1
            for worker in self._workers.values():
                worker.stop_superseded(request)

    async def redeliver(self, request_id: UUID) -> Request | None:
        """Starts a new series of callbacks; None while one is running or where there is none to repeat."""
        started = await self._to_its_end(
            self._restarted(callback_store.redeliver(self.pool, self.owner, self._lease, [request_id]))
        )
        return started[0] if started else None

    async def redeliver_matching(self, matching: callback_store.Matching, limit: int) -> list[Request]:
        """Starts a new series of callbacks for the oldest requests that match and have none running."""
        return await self._to_its_end(
            self._restarted(callback_store.redeliver_matching(self.pool, self.owner, self._lease, matching, limit))
        )

    async def _restarted(self, series: Awaitable[list[Request]]) -> list[Request]:
        started = await series
        self.publish(started)
        for request in started:
            self.dispatcher.offer(request)
        return started

    def publish(self, requests: list[Request]) -> None:
        """Makes new states known, here and to the other replicas; after their commit."""
        news = set(self.hub.publish(requests))
        # What a benchmark runs is nobody's affair but this replica's.
        self._replication.tell([request.id for request in requests if request.run_id is None and request.id in news])

    def stop_taking(self) -> None:
        """Claims nothing any more but what clients of this replica are waiting for; from now on the grace time runs."""
        if not self.worker.draining:
            self.worker.draining = True
            self._stop_at = self.clock.monotonic() + self._settings.shutdown_grace_s

    def _grace(self) -> float:
        """What is left of the time that ending may take in all."""
        self.stop_taking()
        return max(self._stop_at - self.clock.monotonic(), 0)

    @property
    def is_polling(self) -> bool:
        """Whether this database's notifications do not reach us."""
        return self._replication.polling

    def _ended(self, request: Request) -> None:
        self.counts.ended[request.status] += 1
        if request.callback_url:
            self.dispatcher.offer(request)

    def _logged(self, row: CallbackLog, run: UUID | None) -> None:
        self.counts.deliveries["success" if row.success else row.reason or "status"] += 1
        self._replication.told_of(row)
        self.hub.publish_log(row, run)

    def _heard(self, requests: list[Request]) -> None:
        """Takes what other replicas changed: work for us, ends that are waited for, work that was ended there."""
        self.hub.publish(requests)
        for request in requests:
            for worker in self._workers.values():
                worker.stop_superseded(request)
        self.worker.hint()
