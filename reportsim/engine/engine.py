"""The engine: composes everything between an accepted request and its delivered callback."""

import asyncio
import contextlib
import functools
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from reportsim.core import signing
from reportsim.core.clock import Clock
from reportsim.core.identifiers import Entropy, UUID7Generator
from reportsim.core.model import CallbackLog, Request
from reportsim.engine.blocking import BlockingWait
from reportsim.engine.changes import RequestChanges
from reportsim.engine.client_queues import ClientQueues
from reportsim.engine.consumption import Consumption
from reportsim.engine.counts import Counts
from reportsim.engine.delivery.dispatcher import Dispatcher
from reportsim.engine.delivery.recorder import AttemptRecorder, RetryPolicy
from reportsim.engine.delivery.sender import CallbackSender
from reportsim.engine.delivery.ssrf_guard import SsrfGuard
from reportsim.engine.events.hub import EventHub
from reportsim.engine.freeze import Freeze
from reportsim.engine.leases import Leases
from reportsim.engine.ledger_cache import LedgerCache
from reportsim.engine.own_addresses import OwnAddresses
from reportsim.engine.owner import Owner
from reportsim.engine.regeneration import ReportRegenerator
from reportsim.engine.replication import Replication
from reportsim.engine.sweeper import Sweeper
from reportsim.engine.worker.completion import Completion
from reportsim.engine.worker.execution import Executor, generate_file
from reportsim.engine.worker.observer import Observer
from reportsim.engine.worker.slots import Slots
from reportsim.engine.worker.worker import Worker
from reportsim.processes.member import Member
from reportsim.reports.files.folder import ReportFiles
from reportsim.settings import Settings
from reportsim.store import callbacks as callback_store
from reportsim.store import requests as store
from reportsim.store.batcher import Batcher
from reportsim.store.engine_connections import open_connections
from reportsim.store.pool import OUTAGES, Pool, persist
from reportsim.tasks import in_background

log = logging.getLogger(__name__)

RELEASE_S: Final = 5.0


class Engine:
    """Accepts requests, executes them, delivers their callbacks, and publishes their states."""

    def __init__(self, *, settings: Settings, dsn: str, pool: Pool, clock: Clock, member: Member | None = None) -> None:
        """Builds the parts; they work while `running` is entered. The pool is for clients' requests alone.

        `member` says which process of a service this is, if it has several.
        """
        self.owner = uuid.uuid4()
        self.pool = pool
        self.clock = clock
        self._settings = settings
        self._dsn = dsn
        self._lease = timedelta(seconds=settings.lease_s)
        self._queues = ClientQueues(store.Waiting(settings.client_waiting, settings.client_planned_s))
        self._stop_at = float("inf")
        self._groups = open_connections(dsn, settings.pool_size, settings.statement_cache)
        self._connections, self._report_connections, self.readiness = self._groups
        self._owner = Owner(self.owner, self._lease, self._connections)
        self.entropy = Entropy()
        self.new_id = UUID7Generator(entropy=self.entropy, type=store.DriverUUID)
        self.counts = Counts()
        self.hub = EventHub()
        self.consumption = Consumption(self.hub.boot if member is None else member.service)
        self.slots = Slots(settings.workers)
        self.freeze = Freeze()
        self.files = ReportFiles(settings.reports_dir, settings.reports_max_mb * 1_000_000)
        self.ledgers = LedgerCache(pool)
        self.guard = SsrfGuard(settings.callback_policy, [])
        self.addresses = OwnAddresses(settings, self.guard)
        self.secret_texts: tuple[str, ...] = ()
        self.regenerator = ReportRegenerator(
            connections=self._report_connections, files=self.files, slots=self.slots, timeout=settings.sync_timeout
        )
        self._sender = self._build_sender()
        self.dispatcher = self._build_dispatcher()
        self.worker = self._build_worker(self.owner, self.slots)
        self._workers = {self.owner: self.worker}
        self.changes = self._build_changes()
        self.blocking = BlockingWait(pool, self.owner, self.changes, timeout=settings.sync_timeout)
        self._inserts: Batcher[store.NewRequest, bool] = Batcher(self._insert, name="insert")
        self._build_background(is_first=member is None or member.is_first)

    def _build_sender(self) -> CallbackSender:
        return CallbackSender(
            self.guard,
            timeout=self._settings.callback_timeout,
            clock=self.clock,
            base_url=lambda: self.addresses.base_url,
            demo=lambda: self.addresses.demo,
        )

    def _build_dispatcher(self) -> Dispatcher:
        settings = self._settings
        recorder = AttemptRecorder(
            self._owner,
            RetryPolicy(
                waits=settings.callback_waits, jitter=settings.callback_jitter, attempts=settings.callback_attempts
            ),
            clock=self.clock,
            new_id=self.new_id,
            publish=self.publish,
            publish_log=self._publish_log,
        )
        return Dispatcher(self._owner, self._sender, recorder, guard=self.guard, rate=settings.callback_rate)

    def _build_worker(
        self, owner_id: UUID, slots: Slots, observer: Observer | None = None, *, only_own: bool = False
    ) -> Worker:
        owner = Owner(owner_id, self._lease, self._connections)
        return Worker(
            owner,
            slots,
            Executor(functools.partial(generate_file, self._report_connections, self.files), self.clock, self.freeze),
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
            self._owner,
            self._workers,
            self.dispatcher,
            clock=self.clock,
            counts=self.counts,
            files=self.files,
            publish=self.publish,
        )

    def _build_background(self, *, is_first: bool) -> None:
        self._leases = Leases(
            dsn=self._dsn, owner=self.owner, lease=self._lease, worker=self.worker, dispatcher=self.dispatcher
        )
        self._replication = Replication(
            dsn=self._dsn,
            pool=self.pool,
            hub=self.hub,
            on_changes=self._take_changes,
            consumption=self.consumption,
            is_first=is_first,
            concerns=lambda: self.hub.awaited.union(*(worker.followed_ids for worker in self._workers.values())),
        )
        self._sweeper = Sweeper(
            pool=self.pool,
            worker=self.worker,
            dispatcher=self.dispatcher,
            files=self.files,
            retention=timedelta(hours=self._settings.retention_hours),
            accepted=self.counts.accepted.total,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Engine"]:
        """Works as long as the block lasts; then running work gets the grace time, and the rest is released."""
        await self._load_secrets()
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
                await self._release()
                for connections in self._groups:
                    connections.close()

    async def _load_secrets(self) -> None:
        candidate = signing.new_secret()
        configured = self._settings.webhook_secret
        texts = configured or (await persist(lambda: callback_store.keep_secret(self.pool, candidate)),)
        self._sender.secrets = [signing.parse_secret(text) for text in texts]
        self.secret_texts = tuple(texts)

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_S):
                await store.release(self.pool, self.owner, self.dispatcher.held)
        except (*OUTAGES, TimeoutError) as error:
            log.warning("leases could not be released, and expire: %s", str(error) or type(error).__name__)

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
        return await self._inserts.put(new)

    def hash_client(self, address: str) -> bytes:
        """The hash of a client's address that is stored in its place."""
        return signing.hash_client("".join(self.secret_texts[:1]), address)

    async def _insert(self, new: Sequence[store.NewRequest]) -> list[bool]:
        """Inserts many, and publishes those that are new, even when their client has disconnected."""
        queues = self._queues
        found = await store.insert(self._connections, self._lease, new, queues.bound, queues.add(new))
        queues.learn(new, found)
        accepted = [item for item, fresh in zip(new, found.inserted, strict=True) if fresh]
        self.publish([item.request for item in accepted])
        for item in accepted:
            self.counts.accepted[item.request.mode] += 1
            self._workers.get(item.owner or self.owner, self.worker).expect(item.request, item.owner)
        return found.inserted

    def publish(self, requests: list[Request]) -> None:
        """Publishes new states after their commit, to subscribers here and to other replicas."""
        news = set(self.hub.publish(requests))
        # Other replicas have no part in the requests of a benchmark run.
        self._replication.tell([request.id for request in requests if request.run_id is None and request.id in news])

    def stop_taking(self) -> None:
        """Stops claiming, except requests that clients of this replica wait for; the grace time begins."""
        if not self.worker.draining:
            self.worker.draining = True
            self._stop_at = self.clock.monotonic() + self._settings.shutdown_grace_s

    def _grace(self) -> float:
        """The seconds that are left of the grace time."""
        self.stop_taking()
        return max(self._stop_at - self.clock.monotonic(), 0)

    @property
    def is_polling(self) -> bool:
        """Whether the database's notifications do not arrive, so that changes are polled."""
        return self._replication.polling

    def _on_end(self, request: Request) -> None:
        self.counts.ended[request.status] += 1
        if request.callback_url:
            self.dispatcher.offer(request)

    def _publish_log(self, row: CallbackLog, run: UUID | None) -> None:
        self.counts.deliveries["success" if row.success else row.reason or "status"] += 1
        self._replication.mark_published(row)
        self.hub.publish_log(row, run)

    def _take_changes(self, requests: list[Request]) -> None:
        """Takes the changes of other replicas: new work, ends that are waited for, and work that was ended there."""
        self.hub.publish(requests)
        for request in requests:
            for worker in self._workers.values():
                worker.stop_superseded(request)
        self.worker.wake()
