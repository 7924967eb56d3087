"""The HTTP client of callbacks: one connection, one request, one answer, with every byte as it was asked for.

No redirects, proxies, cookies or reused connections. A general client writes URLs anew and judges answers by their
framing, both of which are wrong for callbacks.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiohappyeyeballs import start_connection
from aiohttp.abc import AbstractResolver

from reportsim.core.callback_policy.urls import CallbackTarget
from reportsim.engine.delivery.response_reader import MOST_HEAD, Head, HeadReader, read_excerpt
from reportsim.engine.delivery.ssrf_guard import GuardedResolver, HostResolver, ResourceShortage, SsrfGuard

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]

# How long one address of a name may take before the next one is tried beside it (RFC 8305).
NEXT_ADDRESS_S: Final = 0.25
# Errors of a socket that say nothing of its peer: this process or machine has run out of something.
OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
HEADERS: Final = {"Accept": "*/*", "User-Agent": "reportsim", "Content-Type": "application/json"}


def verifying() -> ssl.SSLContext:
    """The TLS context of callbacks: certificates are verified by the system's authorities."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


TLS_CONTEXT = verifying()


class UnresolvedError(Exception):
    """The name of a target leads nowhere."""


class UnconnectedError(Exception):
    """No address of a target accepted the connection."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose head was read."""

    head: Head
    reader: asyncio.StreamReader

    async def read_excerpt(self) -> str:
        """The beginning of its body as text."""
        return await read_excerpt(self.reader, self.head)


class Client:
    """Makes connections that the guard allows."""

    def __init__(self, guard: SsrfGuard, resolver: AbstractResolver) -> None:
        """Takes a resolver that holds its answers against the guard."""
        self._guard = guard
        self._resolver = resolver

    @contextlib.asynccontextmanager
    async def post(self, target: CallbackTarget, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[Response]:
        """Sends a POST and reads the head of the answer; the connection is gone when the block ends.

        Raises:
            UnresolvedError, UnconnectedError, BadResponse, OSError, IncompleteReadError: it went no further.
            ResourceShortage: it was not tried.
        """
        connection = await self._connect(await self._addresses(target))
        reader = asyncio.StreamReader(limit=MOST_HEAD)
        secure = target.scheme == "https"
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: asyncio.StreamReaderProtocol(reader),
                sock=connection,
                ssl=TLS_CONTEXT if secure else None,
                server_hostname=target.host if secure else None,
            )
        except BaseException:
            connection.close()
            raise
        try:
            transport.write(request_of(target, body, headers))
            yield Response(await HeadReader(reader).read(), reader)
        finally:
            transport.abort()

    async def _addresses(self, target: CallbackTarget) -> list[AddressInfo]:
        if target.address is not None:
            return [address_info(str(target.address), target.port)]
        try:
            found = await self._resolver.resolve(target.host, target.port)
        except OSError as error:
            raise UnresolvedError from error
        return [address_info(each["host"], target.port) for each in found]

    async def _connect(self, addresses: list[AddressInfo]) -> socket.socket:
        try:
            return await start_connection(
                addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1, socket_factory=self._guard.socket
            )
        except OSError as error:
            if error.errno in OURS:
                raise ResourceShortage(error.strerror or str(error)) from None
            raise UnconnectedError(error.strerror or str(error)) from error


def address_info(address: str, port: int) -> AddressInfo:
    """An address in the form of socket.getaddrinfo."""
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def request_of(target: CallbackTarget, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The whole request as it is sent."""
    fields = {
        "Host": target.netloc,
        **HEADERS,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    lines = [f"POST {target.resource} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def open_client(guard: SsrfGuard, resolver: AbstractResolver | None = None) -> AsyncIterator[Client]:
    """The client of callbacks as long as the block lasts."""
    guarded = GuardedResolver(guard, resolver or HostResolver())
    try:
        yield Client(guard, guarded)
    finally:
        await guarded.close()
