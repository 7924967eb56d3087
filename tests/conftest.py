"""What tests stand on: one PostgreSQL for the session, a clean database and a live service for each test."""

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import hypothesis
import pytest
from aiohttp import web

from reportsim.app import build_app
from reportsim.engine.engine import Engine
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store.embedded_postgres import server as embedded
from reportsim.store.migrate import migrate
from reportsim.store.pool import Connection, Pool, connect, create_pool
from reportsim.web.keys import ENGINE, READY
from reportsim.web.server.listener import serve_app
from tests.pooler import pooled

# The same examples on every run, however slow the machine: what fails here fails everywhere.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.load_profile("suite")

DEMO_LINES = 2_000
TABLES = "requests, callback_logs, webhook_secrets, benchmarks, consumption_notices"

# With REPORTSIM_TEST_POOLER=1 everything goes through a PgBouncer, which is to be found out.
THROUGH_POOLER = os.environ.get("REPORTSIM_TEST_POOLER") == "1"
STATEMENT_CACHE = 100

for name in [name for name in os.environ if name.startswith("REPORTSIM_")]:
    if name not in {"REPORTSIM_TEST_DATABASE_URL", "REQUIRE_BROWSER"}:
        del os.environ[name]


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A PostgreSQL server to make databases on: the one given, or an embedded one of this session's own."""
    if given := os.environ.get("REPORTSIM_TEST_DATABASE_URL"):
        yield given.strip()
        return
    # Not below pytest's own folder, which every other session of root closes to the server's user.
    with tempfile.TemporaryDirectory(prefix="reportsim-test-") as folder, embedded.start(Path(folder)) as server:
        asyncio.run(forget_the_disk(server.dsn))
        yield server.dsn


async def forget_the_disk(dsn: str) -> None:
    """Spares a server that lives for a session the waits for the disk: no test cuts the machine's power."""
    connection = await connect(dsn)
    await connection.execute("ALTER SYSTEM SET fsync = off")
    await connection.execute("ALTER SYSTEM SET full_page_writes = off")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


@pytest.fixture(scope="session")
def front_dsn(server_dsn: str) -> Iterator[str]:
    """The server as services and tests reach it: directly, or through a pooler."""
    with pooled(server_dsn) if THROUGH_POOLER else contextlib.nullcontext(server_dsn) as front:
        yield front


@pytest.fixture(scope="session")
def session_dsn(server_dsn: str, front_dsn: str) -> Iterator[str]:
    """A migrated database of this session with the ledgers demo and tiny."""
    name = f"reportsim_test_{os.getpid()}"

    async def make() -> str:
        connection = await connect(server_dsn)
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        dsn = on_database(server_dsn, name)
        connection = await connect(dsn)
        await migrate(connection)
        await ledgers.generate(connection, "demo", lines=DEMO_LINES, seed=42)
        await ledgers.generate(connection, "tiny", lines=40, seed=42)
        await connection.close()
        return on_database(front_dsn, name)

    async def drop() -> None:
        connection = await connect(server_dsn)
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()

    yield asyncio.run(make())
    asyncio.run(drop())


def on_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    head, _, query = dsn.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


@pytest.fixture
async def dsn(session_dsn: str) -> AsyncIterator[str]:
    """The session's database, emptied of everything but its two ledgers."""
    yield session_dsn
    connection = await connect(session_dsn)
    await connection.execute(f"TRUNCATE {TABLES} CASCADE")
    await connection.execute("DELETE FROM postings WHERE ledger_id > 2")
    await connection.execute("DELETE FROM balances WHERE ledger_id > 2")
    await connection.execute("DELETE FROM ledgers WHERE ledger_id > 2")
    await connection.close()


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    """A connection of the test's own."""
    opened = await connect(dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """A pool of the test's own."""
    async with create_pool(dsn, size=4, statement_cache=STATEMENT_CACHE) as opened:
        yield opened


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    """Settings for a quick service: leases of a second, short waits between callback attempts, no rate limits."""
    return Settings(
        database_url=dsn,
        data_dir=tmp_path,
        workers=4,
        lease_s=1.0,
        sync_rate=0,
        async_rate=0,
        callback_waits=(0.05, 0.1),
        callback_timeout=1.0,
        demo_lines=DEMO_LINES,
        shutdown_grace_s=2.0,
        statement_cache=STATEMENT_CACHE,
    )


@dataclass
class Service:
    """A live service on a real socket."""

    url: str
    app: web.Application
    client: aiohttp.ClientSession

    @property
    def engine(self) -> Engine:
        return self.app[ENGINE]

    async def ended(self, id: str, *, timeout: float = 10, callback: bool = True) -> dict[str, object]:
        """Polls a request until it, and its callback, have ended."""
        async with asyncio.timeout(timeout):
            while True:
                async with self.client.get(f"/api/requests/{id}") as answer:
                    found: dict[str, object] = await answer.json()
                over = found["status"] in {"COMPLETED", "FAILED"}
                if over and not (callback and found["callback_status"] == "PENDING"):
                    return found
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(
    settings: Settings, *, host: str = "127.0.0.1", port: int = 0, demonstration: bool = False
) -> AsyncIterator[Service]:
    """Runs a service on a port of an address, by default a free one of the loopback address."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    address, port = listening.getsockname()
    url = f"http://{address}:{port}"
    app = build_app(replace(settings, host=address, port=port), demonstration=demonstration)
    app[ENGINE].addresses.listen_on(address, port)
    with listening:
        async with serve_app(app, listening, settings, shutdown_s=2.0):
            async with asyncio.timeout(10):
                await app[READY].wait()
            async with aiohttp.ClientSession(url) as client:
                yield Service(url, app, client)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """A live service with its own HTTP client."""
    async with serving(settings) as running:
        yield running


@dataclass
class Report:
    """A report that was made, and its file."""

    id: str
    url: str
    sha256: str
    csv: bytes
    modified: datetime

    @property
    def etag(self) -> str:
        return f'"{self.sha256}"'


@pytest.fixture
async def report(service: Service) -> Report:
    """A report of the live service."""
    async with service.client.post("/api/sync") as answer:
        body = await answer.json()
    url = body["links"]["report"]
    async with service.client.get(url) as answer:
        modified = parsedate_to_datetime(answer.headers["Last-Modified"])
        return Report(body["id"], url, body["result_payload"]["sha256"], await answer.read(), modified)


@pytest.fixture
def client(service: Service) -> aiohttp.ClientSession:
    """The HTTP client of the live service."""
    return service.client
