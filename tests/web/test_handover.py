"""Connections that another process accepted are handed over whole, whatever has arrived of their request."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
from aiohttp import web

from reportsim.app import all_routes, build_app
from reportsim.processes.buckets import TABLE_BYTES
from reportsim.processes.member import Member
from reportsim.settings import Settings
from reportsim.web.keys import DRAINING, ENGINE, READY
from reportsim.web.server.handover import belongs_to_first, hand_over, is_for_first
from reportsim.web.server.listener import MemberSockets, serve_app
from tests.conftest import Service
from tests.web.raw import Reply, connected, first_reply

ARRIVAL = {"hello": "x" * 200_000}


@dataclass
class Pair:
    """Two processes of a service, on one loop."""

    first: Service
    second: Service


@contextlib.asynccontextmanager
async def member(settings: Settings, index: int, handover: socket.socket, memory: int) -> AsyncIterator[Service]:
    with socket.create_server(("127.0.0.1", 0)) as public, socket.create_server(("127.0.0.1", 0)) as private:
        own = Member(
            index=index,
            count=2,
            service="both",
            listener=public.fileno(),
            private_listener=private.fileno(),
            private_addresses=[private.getsockname()[:2]] * 2,
            handover=handover.fileno(),
            memory=memory,
        )
        app = build_app(settings, member=own)
        app[ENGINE].addresses.listen_on(*public.getsockname()[:2])
        sockets = MemberSockets(private, handover, own.is_first)
        async with serve_app(app, public, settings, shutdown_s=2.0, member=sockets):
            await app[READY].wait()
            host, port = public.getsockname()[:2]
            yield Service(f"http://{host}:{port}", app, None)  # type: ignore[arg-type]  # raw connections only


@pytest.fixture
async def pair(settings: Settings) -> AsyncIterator[Pair]:
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    memory = os.memfd_create("test")
    os.ftruncate(memory, TABLE_BYTES)
    with receiver, sender:
        sender.setblocking(False)
        other = replace(settings, data_dir=settings.data_dir / "other")
        async with member(settings, 0, receiver, memory) as first, member(other, 1, sender, memory) as second:
            yield Pair(first, second)
    os.close(memory)


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def inbox(service: Service) -> int:
    async with connected(service.url) as (reader, writer):
        writer.write(get("/webhook-test/mine"))
        reply = await first_reply(reader)
    return len(json.loads(reply.body)["items"])


@pytest.mark.parametrize("piece", [1, 7, 30, 100_000, 1_000_000])
async def test_a_request_arrives_whole_in_pieces_of_any_size(pair: Pair, piece: int) -> None:
    body = json.dumps(ARRIVAL).encode() if piece > 1_000 else b"{}"
    request = post("/webhook-test/mine", body)
    async with connected(pair.second.url) as (reader, writer):
        for at in range(0, len(request), piece):
            writer.write(request[at : at + piece])
            await writer.drain()
            await asyncio.sleep(0)
        assert (await first_reply(reader)).status == 200
    assert await inbox(pair.first) == await inbox(pair.second) == 1


async def test_a_connection_is_handed_over_between_two_requests(pair: Pair) -> None:
    async with connected(pair.second.url) as (reader, writer):
        replies: list[Reply] = []
        for path in ("/api/ledgers", "/api/ledgers", "/webhook-test/mine", "/api/ledgers", "/"):
            writer.write(get(path))
            replies.append(await first_reply(reader))
    assert [reply.status for reply in replies] == [200] * 5
    processes = [dict(reply.headers)["x-request-id"].partition("-")[0] for reply in replies]
    assert processes[0] == processes[1] != processes[2]
    assert len(set(processes[2:])) == 1


async def test_what_cannot_be_handed_over_is_refused_and_never_answered_wrongly(pair: Pair) -> None:
    async with connected(pair.second.url) as (reader, writer):
        writer.write(get("/api/ledgers") + get("/webhook-test/mine"))
        assert (await first_reply(reader)).status == 200
        assert (await first_reply(reader)).status == 503
    pair.second.app[DRAINING].set()
    async with connected(pair.second.url) as (reader, writer):
        writer.write(get("/webhook-test/mine"))
        assert (await first_reply(reader)).status == 503


async def test_a_body_that_looks_like_a_request_stays_a_body(pair: Pair) -> None:
    body = get("/webhook-test/mine")
    async with connected(pair.second.url) as (reader, writer):
        writer.write(post("/api/async", body)[: -len(body)])
        await writer.drain()
        writer.write(body)
        reply = await first_reply(reader)
    assert reply.status in {400, 415}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET /?status=FAILED HTTP/1.1\r\n", True),
        (b"GET /api/events?run=1 HTTP/1.1\r\n", True),
        (b"GET /%61pi/events HTTP/1.1\r\n", True),
        (b"GET http://localhost/api/events HTTP/1.1\r\n", True),
        (b"\r\nPOST /api/benchmark/both HTTP/1.1\r\n", True),
        (b"GET /api/events", False),
        (b"GET /api/even", False),
        (b"", False),
        (b"GET /api/requests HTTP/1.1\r\n", False),
        (b"GET /static/0/app.js HTTP/1.1\r\n", False),
        (b"POST /api/async HTTP/1.1\r\n", False),
        (b"GET http://[ HTTP/1.1\r\n", False),
        (b"\xff\x00", False),
    ],
)
def test_the_request_line_decides(head: bytes, expected: bool) -> None:
    assert is_for_first(head) is expected


def test_what_belongs_to_the_first_process() -> None:
    local = {route.path for route in all_routes() if not belongs_to_first(route.path)}
    assert local == {
        "/api/sync",
        "/api/async",
        "/api/requests",
        "/api/requests/{id:[0-9a-fA-F-]{36}}",
        "/api/requests/{id}/cancel",
        "/api/requests/{id}/redeliver",
        "/api/requests/redeliver",
        "/api/requests/{id}/callback-logs",
        "/api/reports/{file}",
        "/api/ledgers",
        "/api/callbacks/simulate-failures",
        "/problems/{slug}",
        "/static/{digest}/{name:.+}",
        "/favicon.ico",
        "/docs",
        "/openapi.json",
        "/healthz",
        "/readyz",
        "/metrics",
    }


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_that_is_handed_over_as_the_service_stops_is_closed(turns: int) -> None:
    """However far it has come: refused, received without a protocol, or connected."""
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client, accepted = socket.socketpair()
    with contextlib.ExitStack() as stack:
        for each in (receiver, sender, client):
            stack.enter_context(each)
        public, private = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        sockets = MemberSockets(private, receiver, is_first=True)
        async with serve_app(web.Application(), public, Settings(), shutdown_s=0.2, member=sockets):
            await asyncio.sleep(0)
            with accepted:
                assert hand_over(sender, accepted.fileno(), b"")
            for _ in range(turns):
                await asyncio.sleep(0)
        client.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            answer = client.recv(65536)
            assert not answer or (answer.startswith(b"HTTP/1.1 503 ") and client.recv(1) == b"")
