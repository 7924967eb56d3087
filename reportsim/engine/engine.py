"""The engine: everything between an accepted request and its delivered callback, behind one door."""

import asyncio
import contextlib
import functools
import hashlib
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Final
from uuid import UUID

from yarl import URL

from reportsim.core import signing
from reportsim.core.callback_policy.addresses import parse_address
from reportsim.core.callback_policy.urls import OwnReceiver
from reportsim.core.clock import Clock
from reportsim.core.identifiers import Entropy, UUID7Generator
from reportsim.core.model import CallbackLog, Request
from reportsim.core.problems import Problem, unavailable
from reportsim.engine.blocking import BlockingWait
from reportsim.engine.changes import RequestChanges
from reportsim.engine.counts import Counts
from reportsim.engine.delivery.dispatcher import Dispatcher
from reportsim.engine.delivery.recorder import AttemptRecorder, RetryPolicy
from reportsim.engine.delivery.sender import CallbackSender
from reportsim.engine.delivery.ssrf_guard import SsrfGuard
from reportsim.engine.events.hub import EventHub
from reportsim.engine.leases import Leases
from reportsim.engine.ledger_cache import LedgerCache
from reportsim.engine.owner import Owner
from reportsim.engine.regeneration import ReportRegenerator
from reportsim.engine.replication import Replication
from reportsim.engine.sweeper import Sweeper
from reportsim.engine.worker.completion import Completion
from reportsim.engine.worker.execution import Executor, generate_file
from reportsim.engine.worker.observer import Observer
from reportsim.engine.worker.slots import Slots
from reportsim.engine.worker.worker import Worker
from reportsim.reports.files.folder import ReportFiles
from reportsim.settings import Settings
from reportsim.store import callbacks as callback_store
from reportsim.store import requests as store
from reportsim.store.batcher import Batcher
from reportsim.store.engine_connections import EngineConnections
from reportsim.store.pool import OUTAGES, Pool, persist, share_connections
from reportsim.tasks import in_background

log = logging.getLogger(__name__)

DEMO_PATH: Final = "/webhook-test/"
RELEASE_S: Final = 5.0
TOO_MUCH_WAITING_S: Final = 5


def too_much_waiting() -> Problem:
    """The refusal of what goes beyond the bounds of one client's waiting work."""
    return unavailable("As much of this client's work is waiting as may wait at once.", TOO_MUCH_WAITING_S)


class Engine:
    """Accepts requests, works on them, delivers their callbacks, and says what happened."""

    def __init__(self, *, settings: Settings, dsn: str, pool: Pool, clock: Clock) -> None:
        """Builds the parts; they work while `running` is entered.

        The pool is for clients' requests. The engine's own tasks have connections of their own, and reports others: a
        long COPY must not delay a short statement.
        """
        self.owner = uuid.uuid4()
        self.pool = pool
        self.clock = clock
        self._settings = settings
        self._dsn = dsn
        self._lease = timedelta(seconds=settings.lease_s)
        self._bounds = store.Bounds(settings.client_waiting, settings.client_planned_s)
        self._stop_at = float("inf")
        self._open_connections()
        self.entropy = Entropy()
        self.new_id = UUID7Generator(entropy=self.entropy)
        self.counts = Counts()
        self.hub = EventHub()
        self.slots = Slots(settings.workers)
        self.files = ReportFiles(settings.reports_dir, settings.reports_max_mb * 1_000_000)
        self.ledgers = LedgerCache(pool)
        self.base_url = settings.public_url or f"http://{settings.host}:{settings.port}"
        self.demo: OwnReceiver | None = None
        self.guard = SsrfGuard(settings.callback_allow, [])
        self.secret_texts: tuple[str, ...] = ()
        self.regenerator = ReportRegenerator(
            connections=self._report_connections, files=self.files, slots=self.slots, timeout=settings.sync_timeout
        )
        self._sender = CallbackSender(
            self.guard,
            timeout=settings.callback_timeout,
            clock=clock,
            base_url=lambda: self.base_url,
            demo=lambda: self.demo,
        )
        self.dispatcher = self._build_dispatcher()
        self.worker = self._build_worker(self.owner, self.slots)
        self._workers = {self.owner: self.worker}
        self.changes = self._build_changes()
        self.blocking = BlockingWait(pool, self.owner, self.changes, timeout=settings.sync_timeout)
        self._inserts: Batcher[store.NewRequest, bool] = Batcher(self._insert, name="insert")
        self._build_background()

    def _open_connections(self) -> None:
        cache = self._settings.statement_cache
        shares = share_connections(self._dsn, self._settings.pool_size)
        self._connections = EngineConnections(self._dsn, statement_cache=cache, size=shares.engine)
        self._report_connections = EngineConnections(self._dsn, statement_cache=cache, size=shares.reports)
        self.readiness = EngineConnections(self._dsn, statement_cache=0, size=1, cancel_timeout=0.0)

    def _build_dispatcher(self) -> Dispatcher:
        settings = self._settings
        owner = Owner(self.owner, self._lease, self._connections)
        recorder = AttemptRecorder(
            owner,
            RetryPolicy(
                waits=settings.callback_waits, jitter=settings.callback_jitter, attempts=settings.callback_attempts
            ),
            clock=self.clock,
            new_id=self.new_id,
            publish=self.publish,
            publish_log=self._publish_log,
        )
        return Dispatcher(owner, self._sender, recorder, guard=self.guard, rate=settings.callback_rate)

    def _build_worker(
        self, owner_id: UUID, slots: Slots, observer: Observer | None = None, *, only_own: bool = False
    ) -> Worker:
        owner = Owner(owner_id, self._lease, self._connections)
        return Worker(
            owner,
            slots,
            Executor(functools.partial(generate_file, self._report_connections, self.files), self.clock),
            Completion(
                owner,
                discard=lambda request_id: self.files.remove([request_id]),
                publish=self.publish,
                on_end=self._on_end,
                callback_owner=self.owner,
            ),
            clock=self.clock,
            publish=self.publish,
            only_own=only_own,
            observer=observer,
        )

    def _build_changes(self) -> RequestChanges:
        return RequestChanges(
            self.pool,
            Owner(self.owner, self._lease, self._connections),
            self._workers,
            self.dispatcher,
            clock=self.clock,
            counts=self.counts,
            files=self.files,
            publish=self.publish,
        )

    def _build_background(self) -> None:
        self._leases = Leases(
            dsn=self._dsn, owner=self.owner, lease=self._lease, worker=self.worker, dispatcher=self.dispatcher
        )
        self._replication = Replication(
            dsn=self._dsn,
            pool=self.pool,
            hub=self.hub,
            heard=self._take_changes,
            concerns=lambda: self.hub.awaited.union(*(worker.running_ids for worker in self._workers.values())),
        )
        self._sweeper = Sweeper(
            pool=self.pool,
            worker=self.worker,
            dispatcher=self.dispatcher,
            files=self.files,
            retention=timedelta(hours=self._settings.retention_hours),
            accepted=self.counts.accepted.total,
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
        self._sender.secrets = [signing.parse_secret(text) for text in texts]
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
                await self.changes.wait(self._grace())
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
        worker = self._build_worker(owner, Slots(workers), observer, only_own=True)
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
        """Inserts many, and announces the new ones, even if the client of one has disconnected meanwhile."""
        inserted = await store.insert(self._connections, self._lease, new, self._bounds)
        accepted = [item for item, fresh in zip(new, inserted, strict=True) if fresh]
        self.publish([item.request for item in accepted])
        for item in accepted:
            self.counts.accepted[item.request.mode] += 1
            self._workers.get(item.owner or self.owner, self.worker).expect(item.request, item.owner)
        return inserted

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

    def _on_end(self, request: Request) -> None:
        self.counts.ended[request.status] += 1
        if request.callback_url:
            self.dispatcher.offer(request)

    def _publish_log(self, row: CallbackLog, run: UUID | None) -> None:
        self.counts.deliveries["success" if row.success else row.reason or "status"] += 1
        self._replication.told_of(row)
        self.hub.publish_log(row, run)

    def _take_changes(self, requests: list[Request]) -> None:
        """Takes what other replicas changed: work for us, ends that are waited for, work that was ended there."""
        self.hub.publish(requests)
        for request in requests:
            for worker in self._workers.values():
                worker.stop_superseded(request)
        self.worker.wake()
