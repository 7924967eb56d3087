"""Clients that do not read, read a byte at a time, go half away, or ask for everything at once."""

import asyncio
import contextlib
import html
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest

from reportsim.core.identifiers import UUID7Generator
from reportsim.settings import Settings
from reportsim.store import requests as store
from reportsim.web.server import listener, send_buffers
from reportsim.web.server.connection import Connection
from reportsim.web.server.send_buffers import SendBuffers
from tests.api.calls import read, submit
from tests.conftest import Service, serving

MANY = 400


@pytest.fixture
def buffers(monkeypatch: pytest.MonkeyPatch) -> list[SendBuffers]:
    """The send buffers of the services that a test starts, whose stall limit is short; the kernel's stays long."""
    made: list[SendBuffers] = []

    def make() -> SendBuffers:
        made.append(SendBuffers())
        return made[-1]

    monkeypatch.setattr(listener, "SendBuffers", make)
    monkeypatch.setattr(send_buffers, "STALL_S", 0.3)
    return made


@contextlib.asynccontextmanager
async def unread(url: str, data: bytes) -> AsyncIterator[socket.socket]:
    """A connection with little room for what it does not read, on which something was asked."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)
        host = urlsplit(url)
        await loop.sock_connect(client, (host.hostname, host.port))
        await loop.sock_sendall(client, data)
        yield client


def get(path: str, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode()


async def large_rows(service: Service, count: int = 1, size: int = 60_000) -> None:
    """Adds finished requests whose inputs are as large as bodies may be."""
    codes = ["9" * 60 for _ in range(size // 63)]
    body = {"ledger": "tiny", "report_type": "general_ledger", "account_codes": codes}
    id = await submit(service, "/api/sync", body)
    pool = service.engine.pool
    columns = [
        row["column_name"]
        for row in await pool.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'requests'"
            " AND is_generated = 'NEVER' AND column_name NOT IN ('id', 'idempotency_key')"
        )
    ]
    new_id = UUID7Generator()
    names = ", ".join(columns)
    copy = f"INSERT INTO requests (id, {names}) SELECT $2, {names} FROM requests WHERE id = $1::text::uuid"
    await pool.executemany(copy, [(id, new_id()) for _ in range(count - 1)])


async def large_file(service: Service) -> str:
    """The path of a report of some megabytes."""
    id = await submit(service, "/api/sync", {"ledger": "demo", "report_type": "general_ledger"})
    row = await read(service, f"/api/requests/{id}")
    with service.engine.files._path(row["id"]).open("ab") as file:
        file.write(b"x" * 4_000_000)
    await service.engine.pool.execute(
        "UPDATE requests SET result_payload = jsonb_set(result_payload::jsonb, '{bytes}', to_jsonb("
        "(result_payload ->> 'bytes')::integer + 4000000))::json WHERE id = $1::text::uuid",
        id,
    )
    return str(row["links"]["report"])


@pytest.mark.parametrize("kind", ["list", "page", "static", "document", "download", "problems", "metrics"])
async def test_an_answer_that_is_not_read_ends_with_its_connection(
    settings: Settings, buffers: list[SendBuffers], kind: str
) -> None:
    async with serving(settings) as service:
        if kind == "list":
            await large_rows(service, 20)
        paths = {
            "list": "/api/requests?limit=20",
            "page": "/",
            "static": "/static/0/style.css",
            "document": "/openapi.json",
            "problems": "/api/requests?unknown=1",
            "metrics": "/metrics",
        }
        path = await large_file(service) if kind == "download" else paths[kind]
        asked = get(path) * (1 if kind in {"list", "download"} else MANY)
        async with unread(service.url, asked) as client:
            await becomes(lambda: buffers[0].aborted == 1)
            assert await ends(client)
        assert (len(buffers[0]), buffers[0].total) == (0, 0)


async def test_an_answer_that_fits_the_kernel_and_is_not_read_ends_with_its_connection(
    settings: Settings, buffers: list[SendBuffers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left to write, so that only the kernel knows of the reader."""
    ended: list[BaseException | None] = []

    class WatchedConnection(Connection):
        def connection_lost(self, exc: BaseException | None) -> None:
            ended.append(exc)
            super().connection_lost(exc)

    monkeypatch.setattr(listener, "Connection", WatchedConnection)
    monkeypatch.setattr(send_buffers, "KERNEL_STALL_S", 0.3)
    async with serving(settings) as service:
        async with unread(service.url, get("/api/requests?unknown=1") * 60) as client:
            await becomes(lambda: bool(ended))
            assert isinstance(ended[0], TimeoutError)
            assert await ends(client)
        assert (len(buffers[0]), buffers[0].aborted) == (0, 0)


async def test_a_stream_that_is_not_read_ends_too(settings: Settings, buffers: list[SendBuffers]) -> None:
    async with serving(settings) as service:
        async with unread(service.url, get("/api/events")) as client:
            while not buffers[0]:
                service.engine.hub.publish_event("stats", {"much": "x" * 500_000})
                await asyncio.sleep(0)
            await becomes(lambda: buffers[0].aborted == 1)
            assert await ends(client)
        await becomes(lambda: service.engine.hub.subscribers == 0)


async def test_a_stream_that_is_not_read_does_not_outlast_the_service(
    settings: Settings, buffers: list[SendBuffers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that is closed with bytes to write fails, and with it a stop that was clean."""
    monkeypatch.setattr(send_buffers, "STALL_S", 60.0)
    async with contextlib.AsyncExitStack() as stack:
        async with serving(settings) as service:
            await stack.enter_async_context(unread(service.url, get("/api/events")))
            while not buffers[0]:
                service.engine.hub.publish_event("stats", {"much": "x" * 500_000})
                await asyncio.sleep(0)
        assert (len(buffers[0]), buffers[0].total) == (0, 0)


async def test_who_takes_a_little_now_and_then_is_waited_for(
    settings: Settings, buffers: list[SendBuffers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_buffers, "STALL_S", 2.0)
    loop = asyncio.get_running_loop()
    async with serving(settings) as service:
        path = await large_file(service)
        async with unread(service.url, get(path)) as client:
            await becomes(lambda: len(buffers[0]) == 1)
            ends_at = loop.time() + 1.5 * send_buffers.STALL_S
            taken = 0
            while loop.time() < ends_at:
                taken += len(await loop.sock_recv(client, 20_000))
                await asyncio.sleep(send_buffers.STALL_S / 100)
            assert taken > 0
            assert buffers[0].aborted == 0
        # Half away is away: nobody is there to read.
        async with unread(service.url, get(path)) as client:
            await becomes(lambda: len(buffers[0]) == 1)
            client.shutdown(socket.SHUT_WR)
            await becomes(lambda: len(buffers[0]) == 0)


async def test_a_connection_that_is_closed_with_bytes_waiting_ends(
    settings: Settings, buffers: list[SendBuffers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "IDLE_TIMEOUT_S", 0.05)
    async with serving(settings) as service:
        await large_rows(service, 20)
        async with unread(service.url, get("/api/requests?limit=20", "Connection: close")) as client:
            await becomes(lambda: buffers[0].aborted == 1)
            assert await ends(client)


async def test_a_client_holds_so_many_bytes_and_all_together_so_many(
    settings: Settings, buffers: list[SendBuffers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_buffers, "STALL_S", 60.0)
    monkeypatch.setattr(send_buffers, "MAX_BYTES_PER_CLIENT", 2_000_000)
    async with serving(settings) as service, contextlib.AsyncExitStack() as stack:
        await large_rows(service, 20)
        first = await stack.enter_async_context(unread(service.url, get("/api/requests?limit=20")))
        await becomes(lambda: len(buffers[0]) == 1)
        for _ in range(5):
            await stack.enter_async_context(unread(service.url, get("/api/requests?limit=20")))
        await becomes(lambda: buffers[0].aborted >= 2 and buffers[0].total <= 2_000_000)
        # The one that has waited longest went first.
        assert await ends(first)
        monkeypatch.setattr(send_buffers, "MAX_BYTES", 0)
        async with unread(service.url, get("/api/requests?limit=20")):
            await becomes(lambda: len(buffers[0]) == 0 and buffers[0].aborted == 7)


async def becomes(condition: Callable[[], bool]) -> None:
    """Waits for something that nothing tells."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def ends(client: socket.socket) -> bool:
    """Whether a connection ends before the whole of what was asked for came."""
    loop = asyncio.get_running_loop()
    taken = 0
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionResetError):
            while data := await loop.sock_recv(client, 1 << 20):
                taken += len(data)
    return taken < 4_000_000


async def test_a_list_of_large_rows_comes_in_pages_of_bounded_size(service: Service) -> None:
    await large_rows(service, 60)
    for limit in (200, 7, 1):
        seen: list[str] = []
        url: str | None = f"/api/requests?limit={limit}"
        while url:
            async with service.client.get(url) as answer:
                body = await answer.read()
                assert answer.status == 200
            assert len(body) < store.PAGE_BYTES + 200
            page = json.loads(body)
            assert 1 <= len(page["items"]) <= limit
            seen += [item["id"] for item in page["items"]]
            url = page["next"]
        assert len(seen) == len(set(seen)) == 60
        assert seen == sorted(seen, reverse=True)
    # The page for people leads on as well.
    seen = []
    url = "/?limit=100"
    while url:
        async with service.client.get(url) as answer:
            text = await answer.text()
        seen += re.findall(r'href="/requests/([0-9a-f-]{36})"', text)
        older = re.search(r'href="([^"]*cursor=[^"]*)"[^>]*>\s*Older', text, re.IGNORECASE)
        url = html.unescape(older[1]) if older else None
    assert len(set(seen)) == 60
