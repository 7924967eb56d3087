"""HTTP as servers really speak it: TLS, kept connections, chunks, 1xx, resets, and callbacks sent in any way."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from reportsim.measure.conclusion import conclude, parse_objectives
from reportsim.measure.http_client import MOST_BODY, open_client
from reportsim.measure.measurement import Measurement
from reportsim.measure.target.model import Request, Target
from reportsim.measure.target.reader import read_target
from tests.measure.services import LIMITS, plan_for

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A raw server; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await handle(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answering(*answers: bytes) -> Handle:
    """Answers each request of a connection with the same pieces, one after the other."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for answer in answers:
                writer.write(answer)
                await writer.drain()
                await asyncio.sleep(0.001)

    return handle


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b":0")
    return head + await reader.readexactly(int(length.partition(b":")[2]))


async def outcomes(url: str, result: str = "", count: int = 20) -> dict[str, int]:
    """What becomes of so many requests to a URL."""
    target = read_target(f'[sync]\nrequest = {{url = "{url}"}}\n{result}\n{LIMITS}', {})
    plan = plan_for(target, rate=count)
    measured = await Measurement(target, plan).run()
    found = conclude(measured, parse_objectives([], plan))["sync"]
    return {name: amount for name, amount in found["outcomes"].items() if amount}


STATE = 'result = {pointer = "/s", done = ["ok"]}'
ANSWERS = {
    "with a length": [b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"s":"ok"}'],
    "in chunks": [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b'5\r\n{"s":\r\n',
        b'5\r\n"ok"}\r\n',
        b"0\r\n\r\n",
    ],
    "after 1xx": [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"s":"ok"}',
    ],
    "byte by byte": [bytes([byte]) for byte in b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"s":"ok"}'],
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_are_read_however_they_are_sent(name: str) -> None:
    async with listening(answering(*ANSWERS[name])) as port:
        assert await outcomes(f"http://127.0.0.1:{port}/", STATE) == {"ok": 20}


async def test_an_answer_until_the_end_of_the_connection_is_read() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b'HTTP/1.0 200 OK\r\n\r\n{"s":"ok"}')
        writer.close()
        await writer.wait_closed()

    async with listening(handle) as port:
        assert await outcomes(f"http://127.0.0.1:{port}/", STATE) == {"ok": 20}


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", b"nonsense\r\n\r\n"])
async def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with listening(handle) as port:
        assert await outcomes(f"http://127.0.0.1:{port}/") == {"refused": 20}


async def test_a_redirect_is_not_followed() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n"
    async with listening(answering(moved)) as port:
        assert await outcomes(f"http://127.0.0.1:{port}/") == {"http_4xx": 20}


async def test_nobody_there_is_refused() -> None:
    assert await outcomes("http://127.0.0.1:9/") == {"refused": 20}


async def test_connections_are_kept_and_there_is_no_limit_of_them() -> None:
    opened = 0
    waiting: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while True:
            await read_request(reader)
            waiting.append(writer)
            if len(waiting) == 150:
                for each in waiting:
                    each.write(b"HTTP/1.1 204 .\r\n\r\n")
                waiting.clear()

    async with listening(handle) as port, open_client() as client:
        request = Request(method="POST", url=f"http://127.0.0.1:{port}/", headers={}, body=b"")
        for _ in range(2):
            # Each of them waits for the last one: with a limit, as aiohttp's own of 100, nobody would be answered.
            async with asyncio.timeout(20):
                answers = await asyncio.gather(*(client.exchange(request, keep=False) for _ in range(150)))
            assert {answer.status for answer in answers} == {204}
    assert opened == 150


async def test_tls_is_spoken_and_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with listening(answering(b"HTTP/1.1 204 .\r\n\r\n"), tls) as port, open_client() as client:
        request = Request(method="GET", url=f"https://localhost:{port}/", headers={}, body=None)
        with pytest.raises(OSError, match="certificate"):
            await client.exchange(request, keep=False)
    trusted = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusted)
    async with listening(answering(b"HTTP/1.1 204 .\r\n\r\n"), tls) as port, open_client() as client:
        request = Request(method="GET", url=f"https://localhost:{port}/", headers={}, body=None)
        assert (await client.exchange(request, keep=False)).status == 204


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with listening(answering(b"HTTP/1.1 200 .\r\nContent-Length: 0\r\n\r\n")) as port:
        assert await outcomes(f"http://127.0.0.1:{port}/") == {"ok": 20}


async def test_a_body_that_is_too_large_is_read_and_not_kept() -> None:
    size = 3 * MOST_BODY
    async with (
        listening(answering(b"HTTP/1.1 200 .\r\nContent-Length: %d\r\n\r\n" % size, bytes(size))) as port,
        open_client() as client,
    ):
        request = Request(method="GET", url=f"http://127.0.0.1:{port}/", headers={}, body=None)
        assert len((await client.exchange(request, keep=True)).body) == MOST_BODY
        assert (await client.exchange(request, keep=False)).body == b""


CALLBACKS = {
    "with a length": b'POST PATH HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{"s":"ok"}',
    "in chunks": b'POST PATH HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{"s":"ok"}\r\n0\r\n\r\n',
    "in the old way": b'PUT PATH HTTP/1.0\r\nContent-Length: 10\r\n\r\n{"s":"ok"}',
    "after asking": b"POST PATH HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    "to a tunnel's path": b'POST /prefixPATH HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{"s":"ok"}',
}


@pytest.mark.parametrize("name", CALLBACKS)
async def test_callbacks_are_taken_however_they_are_sent(name: str) -> None:
    answers: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def call(url: str) -> None:
        host, _, path = url.removeprefix("http://").partition("/")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(CALLBACKS[name].replace(b"PATH", f"/{path}".encode()))
        if name == "after asking":
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            writer.write(b'{"s":"ok"}')
        answers.append(await reader.readline())
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = (await read_request(reader)).rpartition(b"\r\n\r\n")[2]
            task = asyncio.create_task(call(body.decode()))
            tasks.add(task)
            writer.write(b"HTTP/1.1 202 .\r\nContent-Length: 0\r\n\r\n")

    async with listening(handle) as port:
        text = f"""
            [async]
            request = {{url = "http://127.0.0.1:{port}/", body = "${{callback_url}}"}}
            [async.callback]
            listen = "127.0.0.1:0"
            status = {{pointer = "/s", done = ["ok"]}}
        """
        target: Target = read_target(text + LIMITS, {})
        plan = plan_for(target, rate=10)
        measured = await Measurement(target, plan).run()
    result = conclude(measured, parse_objectives([], plan))["async"]
    assert result["outcomes"]["ok"] == 10
    assert {answer.split(b" ")[1] for answer in answers} == {b"204"}


async def test_a_stream_that_ends_is_opened_again_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportsim.measure.ways.streams.RECONNECT_S", 0.02)
    resumed: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            if request.startswith(b"POST"):
                writer.write(b"HTTP/1.1 202 .\r\nX-Id: 1\r\nContent-Length: 0\r\n\r\n")
                continue
            resumed.extend(line for line in request.split(b"\r\n") if line.lower().startswith(b"last-event-id"))
            writer.write(b"HTTP/1.1 200 .\r\nContent-Type: text/event-stream\r\n\r\nid: 41\ndata: {}\n\n")
            if resumed:
                writer.write(b'data: {"s": "ok"}\n\n')
            await writer.drain()
            return

    async with listening(handle) as port:
        text = f"""
            [async]
            request = {{url = "http://127.0.0.1:{port}/"}}
            accepted = {{id = {{header = "X-Id"}}}}
            [async.sse]
            url = "http://127.0.0.1:{port}/${{id}}"
            status = {{pointer = "/s", done = ["ok"]}}
        """
        target = read_target(text + LIMITS, {})
        plan = plan_for(target, rate=1)
        measured = await Measurement(target, plan).run()
    result = conclude(measured, parse_objectives([], plan))["async"]
    assert result["outcomes"]["ok"] == 1
    assert resumed == [b"Last-Event-ID: 41"]
    assert result["results"]["reconnects"] == 1
