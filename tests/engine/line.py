"""A line to the database that a test can cut, and mend again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from yarl import URL


@dataclass
class Line:
    """A relay on a loopback port: whoever connects to `dsn` talks to the database behind it."""

    dsn: str
    _port: int
    _target: tuple[str, int]
    _server: asyncio.Server | None = None
    _relays: set[asyncio.Task[None]] = field(default_factory=set)

    async def cut(self) -> None:
        """Breaks every connection and refuses new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.break_connections()

    async def break_connections(self) -> None:
        """Breaks every connection; new ones may be made."""
        relays = list(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    async def mend(self) -> None:
        """Lets new connections through again."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            if self._server is not None:
                await self._relay(reader, writer)
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            self._relays.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target
        if host.startswith("/"):
            back_reader, back_writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            back_reader, back_writer = await asyncio.open_connection(host, port)
        pumps = [asyncio.create_task(pump(reader, back_writer)), asyncio.create_task(pump(back_reader, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back_writer.transport.abort()
            for each in pumps:
                each.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes on what comes, until the end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def line_to(dsn: str) -> AsyncIterator[Line]:
    """A line to a database, mended."""
    url = URL(dsn)
    target = url.query.get("host") or url.host or "127.0.0.1", int(url.query.get("port") or url.port or 5432)
    probe = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    query = {name: value for name, value in url.query.items() if name not in {"host", "port"}}
    through = URL.build(
        scheme="postgresql",
        user=url.user or "postgres",
        password=url.password,
        host="127.0.0.1",
        port=port,
        path=url.path,
        query=query,
    )
    line = Line(str(through), port, target)
    await line.mend()
    try:
        yield line
    finally:
        await line.cut()
