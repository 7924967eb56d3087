"""Whatever becomes of an attempt to connect, its socket is closed."""

import asyncio
import contextlib
import gc
import struct
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from reportsim.store.connector import Connector
from reportsim.store.errors import DatabaseUnavailable
from tests.engine.jobs import until

SSL_REQUEST = 80877103
CANCEL_REQUEST = 80877102
TIMEOUT_S = 0.1

Serve = Callable[["FakeServer"], Awaitable[str]]


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def error(code: str, text: str) -> bytes:
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": text}
    return message(b"E", b"".join(f"{name}{value}\0".encode() for name, value in fields.items()) + b"\0")


AUTHENTICATED = message(b"R", struct.pack("!i", 0))
SERVER_VERSION = message(b"S", b"server_version\x0015.4\0")
READY = AUTHENTICATED + SERVER_VERSION + message(b"K", struct.pack("!ii", 7, 7)) + message(b"Z", b"I")


@dataclass
class FakeServer:
    """Says what it is told to at each step of a connection, then waits for the other side's end or ends itself."""

    tls: bytes = b"N"
    says: bytes = b""
    ends: bool = False
    taken: int = 0
    open: int = 0
    reached: bool = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self.converse(reader, writer)
        finally:
            self.open -= 1
            writer.close()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        if code == SSL_REQUEST:
            writer.write(self.tls)
            if self.tls == b"N":
                length, code = struct.unpack("!ii", await reader.readexactly(8))
        if code == CANCEL_REQUEST:
            return
        if code != SSL_REQUEST:
            await reader.readexactly(length - 8)
            writer.write(self.says)
        self.reached = True
        if not self.ends:
            while await reader.read(1 << 16):
                pass


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Makes a fake server listen, and names its address."""
    monkeypatch.setattr("reportsim.store.connector.CONNECT_TIMEOUT_S", TIMEOUT_S)
    async with contextlib.AsyncExitStack() as stack:

        async def start(fake: FakeServer) -> str:
            server = await stack.enter_async_context(await asyncio.start_server(fake.accept, "127.0.0.1", 0))
            return f"postgresql://ann@127.0.0.1:{server.sockets[0].getsockname()[1]}/books"

        yield start


HANG = {
    "takes connections and says nothing": FakeServer(tls=b""),
    "says nothing in the handshake of TLS": FakeServer(tls=b"S"),
    "says nothing after the start of the session": FakeServer(),
    "says nothing after the password was accepted": FakeServer(says=AUTHENTICATED),
    "says nothing to a statement": FakeServer(says=READY),
}
REFUSE = {
    "refuses a parameter": FakeServer(says=error("08P01", "unsupported startup parameter: x")),
    "refuses a parameter, and closes": FakeServer(says=error("08P01", "unsupported startup parameter: x"), ends=True),
    "is full": FakeServer(says=error("53300", "too many clients")),
    "is starting": FakeServer(says=error("57P03", "the database system is starting up")),
    "closes at once": FakeServer(tls=b"", ends=True),
    "closes in the handshake of TLS": FakeServer(tls=b"S", ends=True),
    "closes after the start of the session": FakeServer(ends=True),
    "closes before a statement": FakeServer(says=READY, ends=True),
    "is too old": FakeServer(says=READY.replace(b"15.4", b"9.60")),
    "says nonsense": FakeServer(says=b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40),
}


@pytest.mark.parametrize("server", [*HANG.values(), *REFUSE.values()], ids=[*HANG, *REFUSE])
async def test_an_attempt_that_fails_closes_its_socket(serve: Serve, server: FakeServer) -> None:
    server = replace(server)
    with all_closed():
        with pytest.raises(DatabaseUnavailable):
            await Connector(await serve(server)).connect()
        await until(lambda: asyncio.sleep(0, server.taken and not server.open))


@pytest.mark.parametrize("server", HANG.values(), ids=HANG)
async def test_an_attempt_that_is_cancelled_closes_its_socket(serve: Serve, server: FakeServer) -> None:
    server = replace(server)
    with all_closed():
        connecting = asyncio.create_task(Connector(await serve(server)).connect())
        await until(lambda: asyncio.sleep(0, server.reached))
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        del connecting
        await until(lambda: asyncio.sleep(0, not server.open))


@contextlib.contextmanager
def all_closed() -> Iterator[None]:
    """Fails when something was left to the garbage collector to close."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [str(each.message) for each in caught if each.category is ResourceWarning]
