"""Answers that break in the middle: the connection is reset, and no second answer stands within the first."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any

import pytest
from aiohttp import web

from reportsim.api import reports
from reportsim.core.problems import Problem, unavailable
from reportsim.settings import Settings
from tests.api.calls import read, submit
from tests.conftest import Service, serving
from tests.web.raw import connected


async def whatever_comes(service: Service, path: str, version: str = "1.1") -> bytes:
    """All bytes of a connection on which something was asked, until it ends."""
    async with connected(service.url) as (reader, writer):
        writer.write(f"GET {path} HTTP/{version}\r\nHost: 127.0.0.1\r\n\r\n".encode())
        received = b""
        try:
            while data := await reader.read(1 << 16):
                received += data
        except ConnectionResetError:
            return received + b"<reset>"
        return received


class Cut(BytesIO):
    """A file that ends, or fails, before the length that it had."""

    def __init__(self, size: int, error: OSError | None) -> None:
        super().__init__(b"x" * size)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self._error and self.tell() > 300_000:
            raise self._error
        return data


@pytest.mark.parametrize("error", [None, OSError(5, "Input/output error")], ids=["short", "EIO"])
async def test_a_download_that_cannot_go_on_breaks_off(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    id = await submit(service, "/api/sync")
    row = await read(service, f"/api/requests/{id}")
    await service.engine.pool.execute(
        "UPDATE requests SET result_payload = jsonb_set(result_payload::jsonb, '{bytes}', '900000')::json"
        " WHERE id = $1::text::uuid",
        id,
    )

    async def cut(_: Any) -> BytesIO:
        return Cut(400_000, error)

    monkeypatch.setattr(service.engine.regenerator, "open", cut)
    received = await whatever_comes(service, row["links"]["report"])
    assert received.count(b"HTTP/1.1") == 1
    assert b"application/problem+json" not in received
    assert received.endswith(b"<reset>")
    # Before its headers are out, the client is told.
    monkeypatch.setattr(reports, "CHUNK", 1 << 20)
    async with service.client.get(row["links"]["report"]) as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert "file" in (await answer.json())["detail"]


def failing(error: Exception, began: Callable[[web.Request], Any]) -> Any:
    """A handler that fails once its answer has begun."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if began(request):
            await response.write(b"half")
        raise error

    return handler


ERRORS = [
    Problem("not-found", "no"),
    unavailable("no"),
    web.HTTPNotFound(),
    web.HTTPFound("/"),
    RuntimeError("the export's process ended badly"),
    OSError(5, "Input/output error"),
    TimeoutError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_whatever_fails_after_the_headers_resets_the_connection(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception, written: bool, version: str
) -> None:
    monkeypatch.setattr("reportsim.api.health.healthz", failing(error, lambda _: written))
    async with serving(settings) as service:
        received = await whatever_comes(service, "/healthz", version)
    assert received.count(b"HTTP/1.") == 1
    assert received.endswith(b"<reset>")
    assert b"0\r\n\r\n" not in received.partition(b"\r\n\r\n")[2]


async def test_an_export_whose_process_dies_breaks_off(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[asyncio.subprocess.Process] = []

    async def dying(process: asyncio.subprocess.Process, _: asyncio.StreamReader) -> AsyncIterator[bytes]:
        processes.append(process)
        yield b"mode,index\n" * 100
        raise RuntimeError("the export's process ended badly")

    async def found(_: web.Request) -> Any:
        return Run(), (b"", b"")

    monkeypatch.setattr("reportsim.benchmark.report.render_process.read_pieces", dying)
    monkeypatch.setattr("reportsim.api.benchmarks.get_finished_run", found)
    received = await whatever_comes(service, f"/api/benchmark/{os.urandom(16).hex()[:8]}/samples.csv")
    assert received.count(b"HTTP/1.1") == 1
    assert received.endswith(b"<reset>")
    [process] = processes
    assert await process.wait() != 0


class Run:
    """A run as far as an export looks at it."""

    id = "run"

    def as_json(self) -> dict[str, Any]:
        return {}
