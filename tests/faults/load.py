"""Clients that do everything a client may, through every fault, and hold the service to what it promised them."""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from uuid import UUID

import aiohttp

from reportsim.core.model import Request, Status
from reportsim.engine.delivery.sender import message_id
from reportsim.engine.worker.execution import MAX_TAKEOVERS
from reportsim.store import requests
from reportsim.store.pool import Connection, Pool, create_pool
from tests.engine.jobs import until
from tests.engine.receiver import Arrival, Receiver

PAUSE_S = 0.02
BROKEN_PAUSE_S = 0.1
FAILURE_SHARE = 0.25
REPLAYED = 30
# What a client may be told: done, accepted, not in this state, failed, and not now.
EXPECTED = frozenset({200, 202, 409, 500, 503})
DEFINITIVE = frozenset({200, 202, 500})
# Less than this in every life of a service, on average, and a test would show nothing.
LEAST_OF_A_LIFE = 5


class Load:
    """Mixed requests to any of some replicas, and what came of them."""

    def __init__(self, urls: Sequence[str], receiver: Receiver, *, seed: int, longest_ms: int = 200) -> None:
        """Makes clients of these replicas; `longest_ms` bounds how long a request holds a slot."""
        self._urls = urls
        self._receiver = receiver
        self._longest_ms = longest_ms
        self._random = random.Random(seed)
        self._keys = 0
        self._bodies: dict[str, tuple[str, dict[str, Any]]] = {}
        self.accepted: list[str] = []
        self.answers: dict[str, set[tuple[int, bytes]]] = defaultdict(set)
        self.redelivered: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.broken: Counter[str] = Counter()
        self.surprises: list[str] = []
        receiver.status = self._verdict

    def __str__(self) -> str:
        statuses = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"{len(self.accepted)} accepted ({statuses}), {self.broken.total()} broken connections,"
            f" {len(self.answers)} keys, {self.redelivered.total()} redeliveries,"
            f" {len(self._receiver.arrivals)} arrivals"
        )

    def _verdict(self, _: Arrival) -> int:
        return 503 if self._random.random() < FAILURE_SHARE else 204

    @contextlib.asynccontextmanager
    async def running(self, clients: int) -> AsyncIterator[None]:
        """Keeps so many clients busy as long as the block lasts; what they began is brought to its end."""
        stop = asyncio.Event()
        async with self.session() as session:
            tasks = [asyncio.create_task(self._client(session, stop)) for _ in range(clients)]
            try:
                yield
            finally:
                stop.set()
                await asyncio.gather(*tasks)

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def _client(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        ways = [self._submit_sync, self._submit_async, self._submit_async, self._submit_async, self._look, self._cancel]
        ways += [self._redeliver]
        while not stop.is_set():
            await self._random.choice(ways)(session, stop)
            await asyncio.sleep(self._random.uniform(0, 2 * PAUSE_S))

    async def _submit_sync(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        await self._submit(session, stop, "/api/sync", self._body())

    async def _submit_async(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        body = self._body()
        if self._random.random() < 0.7:
            host = f"127.0.0.{self._random.randint(1, 4)}"
            body["callback_url"] = self._receiver.url(f"hook-{self._random.randint(1, 3)}", host=host)
        await self._submit(session, stop, "/api/async", body)

    def _body(self) -> dict[str, Any]:
        service = {"distribution": "uniform", "min_ms": 0, "max_ms": self._longest_ms}
        simulate = {"service_time": service, "failure_rate": 0.1, "seed": self._random.randrange(1_000_000)}
        return {"ledger": "tiny", **({"simulate": simulate} if self._random.random() < 0.5 else {})}

    async def _submit(
        self, session: aiohttp.ClientSession, stop: asyncio.Event, path: str, body: dict[str, Any]
    ) -> None:
        """Submits once without a key, or with one until there is an answer."""
        key = None
        if self._random.random() < 0.6:
            self._keys += 1
            key = f"key-{self._keys}"
            self._bodies[key] = path, body
        while not stop.is_set():
            answer = await self._post(session, path, body, key)
            if answer is not None and answer[0] == 202:
                self.accepted.append(answer[1]["id"])
            if answer is not None or key is None:
                return
            await asyncio.sleep(PAUSE_S)

    async def _post(
        self, session: aiohttp.ClientSession, path: str, body: dict[str, Any] | None = None, key: str | None = None
    ) -> tuple[int, Any] | None:
        """Status and JSON of an answer that settles the matter; None when there is none, or none yet."""
        headers = {"X-Idempotency-Key": key} if key else {}
        url = self._random.choice(self._urls) + path
        try:
            async with session.post(url, json=body, headers=headers) as answer:
                status, raw, document = answer.status, await answer.read(), await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError) as error:
            self.broken[type(error).__name__] += 1
            await asyncio.sleep(BROKEN_PAUSE_S)
            return None
        self.statuses[status] += 1
        failed_by_itself = status == 500 and document.get("simulated") is not True
        if status not in EXPECTED or failed_by_itself or (status == 503 and "Retry-After" not in answer.headers):
            self.surprises.append(f"POST {path}: {status} {raw[:300]!r}")
        if key and status in DEFINITIVE:
            self.answers[key].add((status, raw))
        return (status, document) if status in DEFINITIVE or key is None else None

    async def _look(self, session: aiohttp.ClientSession, _: asyncio.Event) -> None:
        if self.accepted:
            id, headers = self._any(), {"Prefer": "wait=1"}
            with contextlib.suppress(aiohttp.ClientError, OSError):
                url = f"{self._random.choice(self._urls)}/api/requests/{id}"
                async with session.get(url, headers=headers) as answer:
                    if answer.status not in {200, 503}:
                        self.surprises.append(f"GET {id}: {answer.status} {await answer.text()}")

    async def _cancel(self, session: aiohttp.ClientSession, _: asyncio.Event) -> None:
        if self.accepted:
            id = self._any()
            self.cancelled.add(id)
            await self._post(session, f"/api/requests/{id}/cancel")

    async def _redeliver(self, session: aiohttp.ClientSession, _: asyncio.Event) -> None:
        if self.accepted:
            id = self._any()
            answer = await self._post(session, f"/api/requests/{id}/redeliver")
            if answer is not None and answer[0] == 202:
                self.redelivered[id] += 1

    def _any(self) -> str:
        """One that was accepted lately."""
        return self._random.choice(self.accepted[-100:])

    async def verify(self, dsn: str, *, lives: int = 1, takeovers: int = 0, timeout: float = 60) -> str:
        """Waits until nothing is left to do, and checks every promise; says what was counted.

        Over so many lives of a service there must have been something to lose, and so many `takeovers` at least.
        """
        assert len(self.accepted) >= LEAST_OF_A_LIFE * lives
        assert len(self._receiver.arrivals) >= LEAST_OF_A_LIFE * lives
        async with create_pool(dsn, size=2, statement_cache=0) as pool, self.session() as session:
            await until(lambda: is_quiet(pool), timeout=timeout)
            ids = [row["id"] for row in await pool.fetch("SELECT id FROM requests")]
            rows = {str(row.id): row for row in await requests.get(pool, ids)}
            assert self.surprises == []
            assert set(self.accepted) <= rows.keys()
            assert all(row.ended for row in rows.values())
            assert [row for row in rows.values() if row.status is Status.FAILED and not self._asked_for(row)] == []
            await self._verify_callbacks(pool, rows.values())
            await self._verify_keys(session)
        assert sum(row.takeovers for row in rows.values()) >= takeovers
        by_takeovers = Counter(row.takeovers for row in rows.values())
        ends = Counter(str(row.status) for row in rows.values())
        return f"{self}; rows by end {dict(ends)}, by takeovers {dict(sorted(by_takeovers.items()))}"

    def _asked_for(self, row: Request) -> bool:
        """Whether this request had to fail: by a simulated failure, by a cancel, or because too many had left it."""
        error = row.error or {}
        match error.get("type"):
            case "/problems/cancelled":
                return str(row.id) in self.cancelled
            case "/problems/gave-up":
                return row.takeovers == MAX_TAKEOVERS
            case _:
                return "simulate" in row.input_payload and error.get("simulated") is True

    async def _verify_callbacks(self, pool: Pool, rows: Iterable[Request]) -> None:
        """At least one arrival of every series, one message id and one body for all, numbers without a gap."""
        arrivals: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in self._receiver.arrivals:
            arrivals[arrival.message_id].append(arrival)
        logged: dict[tuple[UUID, int], list[int]] = defaultdict(list)
        for log in await pool.fetch("SELECT * FROM callback_logs ORDER BY attempt_number"):
            logged[log["request_id"], log["series"]].append(log["attempt_number"])
        messages = set()
        for row in rows:
            if row.callback_url is None:
                continue
            assert row.callback_series >= 1 + self.redelivered[str(row.id)]
            message = message_id(row)
            messages.add(message)
            came = Counter(arrival.attempt for arrival in arrivals[message])
            wanted: Counter[int] = Counter()
            for series in range(1, row.callback_series + 1):
                numbers = logged[row.id, series]
                assert numbers, f"no callback of {row.id}, series {series}"
                assert numbers == list(range(1, len(numbers) + 1))
                wanted.update(numbers)
            assert came.keys() == wanted.keys()
            assert came >= wanted
            assert {arrival.request_id for arrival in arrivals[message]} == {str(row.id)}
            bodies = {arrival.body for arrival in arrivals[message]}
            assert len(bodies) == 1, (row, bodies)
            assert len(logged[row.id, row.callback_series]) == row.callback_attempts
        assert arrivals.keys() == messages

    async def _verify_keys(self, session: aiohttp.ClientSession) -> None:
        """No key ever had two answers, and repeating one gives the same again."""
        assert {key: answers for key, answers in self.answers.items() if len(answers) > 1} == {}
        for key in self._random.sample(sorted(self.answers), min(REPLAYED, len(self.answers))):
            path, body = self._bodies[key]
            async with session.post(self._urls[0] + path, json=body, headers={"X-Idempotency-Key": key}) as answer:
                assert answer.headers.get("Idempotent-Replayed") == "true"
                assert self.answers[key] == {(answer.status, await answer.read())}


async def is_quiet(pool: Pool | Connection) -> bool:
    """Whether every request and every callback has ended."""
    open_rows = "SELECT count(*) FROM requests WHERE completed_at IS NULL OR callback_status = 'PENDING'"
    return bool(await pool.fetchval(open_rows) == 0)
