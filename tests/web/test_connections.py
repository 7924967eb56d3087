"""Connections: how many, how long silent, and what is said at the start."""

import asyncio
import contextlib
import logging
import resource
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from reportsim.benchmark.runner import Runner
from reportsim.cli.errors import CommandError
from reportsim.cli.serve import service as command
from reportsim.cli.serve.sockets import bind
from reportsim.settings import Settings
from reportsim.web.prefer import parse_prefer
from reportsim.web.server import listener as server
from tests.api.calls import until
from tests.conftest import serving
from tests.web.raw import connected, exchange, first_reply

GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def test_one_connection_too_many_is_told_so_and_closed(settings: Settings) -> None:
    async with serving(replace(settings, connections_max=3)) as service:
        async with connected(service.url) as one, connected(service.url) as two, connected(service.url) as three:
            for reader, writer in (one, two, three):
                writer.write(GET)
                assert (await first_reply(reader)).status == 200
            reply = await exchange(service.url, b"")
            assert reply.status == 503
            assert b"/problems/unavailable" in reply.body
            assert reply.headers["connection"] == "close"
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.headers["server"] == "reportsim"
            # Those that are in stay in.
            one[1].write(GET)
            assert (await first_reply(one[0])).status == 200
        await until(lambda: answers(service.url))


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX-Slow: ", GET], ids=["nothing", "half", "whole"])
async def test_a_silent_connection_is_closed(settings: Settings, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_TIMEOUT_S", 0.2)
    async with serving(settings) as service, asyncio.timeout(5), connected(service.url) as (reader, writer):
        writer.write(sent)
        if sent == GET:
            assert (await first_reply(reader)).status == 200
        assert await reader.read() == b""


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_that_comes_as_the_service_stops_is_closed(turns: int) -> None:
    """However far it has come: not accepted, accepted without a protocol, or connected."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        async with server.serve_app(web.Application(), listening, Settings(), shutdown_s=0.2):
            await asyncio.sleep(0)
            client.connect(listening.getsockname())
            for _ in range(turns):
                await asyncio.sleep(0)
        client.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


async def test_a_request_of_a_run_arrives_with_the_first_byte_of_its_head(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when its turn comes: of a burst, the last would seem to have come much later than the first."""
    arrivals: list[float] = []
    monkeypatch.setattr(Runner, "find_request", lambda _self, _mode, _token, _index, arrived: arrivals.append(arrived))
    head = [b"POST /api/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n", b"X-Benchmark-Run: t\r\n\r\n"]
    async with serving(settings) as service, asyncio.timeout(10), connected(service.url) as (reader, writer):
        spans = []
        for body in (b"[]", b"{}"):
            begun = time.monotonic()
            writer.write(head[0])
            # By the time that another client has its answer, what came before has been read.
            await exchange(service.url, GET)
            spans.append((begun, time.monotonic()))
            for part in (head[1], body):
                writer.write(part)
                await exchange(service.url, GET)
            await first_reply(reader)
    assert [begun <= arrived <= read for (begun, read), arrived in zip(spans, arrivals, strict=True)] == [True, True]


def test_the_bounds_of_silence_are_those_that_were_measured() -> None:
    assert 10 <= server.IDLE_TIMEOUT_S <= 15
    assert Settings().shutdown_grace_s <= 10
    for much in ("999", "9" * 10, "0" * 10 + "21", "9" * 900):
        assert parse_prefer(f"wait={much}").wait == 20


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits to raise")
def test_there_are_never_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(100 + server.RESERVED_FILES, 4_096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    assert server.connection_limit(100) == 100
    assert limits == [(100 + server.RESERVED_FILES, 4_096)]
    assert server.connection_limit(1_000) == 1_000
    assert limits[-1] == (1_000 + server.RESERVED_FILES, 4_096)
    assert server.connection_limit(100_000) == 4_096 - server.RESERVED_FILES
    limits.append((1_024, resource.RLIM_INFINITY))
    assert server.connection_limit(100_000) == 100_000


@pytest.mark.parametrize(
    ("files", "connections"),
    [(1, 1), (64, 16), (1_024, 256), (1_200, 300), (1_536, 384), (2_000, 848), (65_536, 10_000)],
)
def test_a_low_limit_on_files_leaves_connections(
    files: int, connections: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """1,024 is what many containers have, also as the hard limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    assert server.connection_limit(10_000) == connections
    said = f"at most {connections} connections are accepted, since the process may open {files} files"
    assert caplog.messages == ([said] if connections < 10_000 else [])


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_beyond_this_machine_it_warns_that_there_is_no_login(
    settings: Settings, tmp_path: Path, host: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "reportsim.cli.serve")
    with bind(host, 0) as listener:
        running = asyncio.create_task(command.serve(replace(settings, host=host), listener))
        port = listener.getsockname()[1]
        await until(lambda: answers(f"http://127.0.0.1:{port}"))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert any("no login" in record.getMessage() for record in caplog.records) is warned


async def answers(url: str) -> bool:
    """Whether a service answers."""
    try:
        return (await exchange(url, GET)).status == 200
    except OSError:
        return False


def test_the_socket_is_bound_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CommandError, match="cannot listen"):
            bind("127.0.0.1", taken.getsockname()[1])
