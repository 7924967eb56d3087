"""The HTTP client of callbacks: one request, one answer, with every byte as it was asked for.

No redirects, proxies or cookies. A general client writes URLs anew and judges answers by their framing, both of which
are wrong for callbacks. Connections are kept for a short time, so that names are soon looked up again.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiohappyeyeballs import start_connection
from aiohttp.abc import AbstractResolver

from reportsim.core.callback_policy.urls import CallbackTarget
from reportsim.engine.delivery.connection import ClosedMeanwhile, Connection
from reportsim.engine.delivery.connection_pool import ConnectionPool
from reportsim.engine.delivery.response_reader import Head
from reportsim.engine.delivery.ssrf_guard import GuardedResolver, HostResolver, ResourceShortage, SsrfGuard, current

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]

# How long one address of a name may take before the next one is tried beside it (RFC 8305).
NEXT_ADDRESS_S: Final = 0.25
# Errors of a socket that say nothing of its peer: this process or machine has run out of something.
OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# How long a connection is used after the name of its address was looked up.
KEPT_S: Final = 10.0
REQUEST_TIMEOUT: Final = 408
HEADERS: Final = "Accept: */*\r\nUser-Agent: reportsim\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"


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


@dataclass(slots=True)
class Response:
    """An answer whose head was read; `is_read` once its connection may be used for another request."""

    head: Head
    connection: Connection
    is_read: bool = False

    async def read_excerpt(self) -> str:
        """The beginning of its body as text."""
        body = await self.connection.read_body(self.head)
        self.is_read = body.is_complete and self.head.is_persistent and self.connection.is_drained
        return body.excerpt


class Client:
    """Makes connections that the guard allows, and keeps them for a short time."""

    def __init__(self, guard: SsrfGuard, resolver: AbstractResolver, now: Callable[[], float]) -> None:
        """Takes a resolver that holds its answers against the guard, and a clock that never goes back."""
        self._guard = guard
        self._resolver = resolver
        self._now = now
        self.pool = ConnectionPool(now)

    async def post(self, target: CallbackTarget, body: bytes, headers: Mapping[str, str], deadline: float) -> Response:
        """Sends a POST, on a kept connection if there is one; reads the head of the answer, which is to be released.

        All of it, and the body of the answer, has until a moment of the loop's clock.

        What a receiver has closed meanwhile, or ends by saying that it has waited for a request in vain, has answered
        nothing to this one, which is then sent again on a connection of its own.

        Raises:
            UnresolvedError, UnconnectedError, BadResponse, OSError, IncompleteReadError: it went no further.
            TimeoutError, DeadlineExceeded: it took too long.
            ResourceShortage: it was not tried.
        """
        request = request_of(target, body, headers)
        dial = current.get()
        if kept := self._take(target):
            dial.kept = kept.address
            with contextlib.suppress(ClosedMeanwhile):
                response = Response(await kept.exchange(request, deadline), kept)
                if response.head.status != REQUEST_TIMEOUT:
                    return response
                kept.close()
            dial.kept = None
        async with asyncio.timeout_at(deadline):
            connection = await self._dial(target)
        return Response(await connection.exchange(request, deadline), connection)

    def release(self, response: Response, target: CallbackTarget) -> None:
        """Keeps the connection of an answer for the next request if it may be used for one, and else closes it."""
        if response.is_read:
            now = self._now()
            until = min(response.connection.until, now + response.head.keep_alive_s)
            if until > now:
                self.pool.keep(target.origin, response.connection, until)
                return
        response.connection.close()

    def _take(self, target: CallbackTarget) -> Connection | None:
        """A kept connection to an address that was checked by the policy of this moment."""
        policy = self._guard.policy_for(target)
        while kept := self.pool.take(target.origin):
            if kept.policy == policy:
                return kept
            kept.close()
        return None

    async def _dial(self, target: CallbackTarget) -> Connection:
        until, policy = self._now() + KEPT_S, self._guard.policy_for(target)
        addresses = await self._addresses(target)
        try:
            connected = await self._connect(addresses)
        except ResourceShortage:
            if not len(self.pool):
                raise
            await self.pool.close_all()
            connected = await self._connect(addresses)
        connection = Connection(connected, current.get().peer or "", until, policy)
        await connection.open(TLS_CONTEXT if target.scheme == "https" else None, target.host)
        return connection

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
    own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    start = f"POST {target.resource} HTTP/1.1\r\nHost: {target.netloc}\r\n"
    return f"{start}{HEADERS}Content-Length: {len(body)}\r\n{own}\r\n".encode() + body


@contextlib.asynccontextmanager
async def open_client(
    guard: SsrfGuard, resolver: AbstractResolver | None = None, now: Callable[[], float] = time.monotonic
) -> AsyncIterator[Client]:
    """The client of callbacks as long as the block lasts."""
    guarded = GuardedResolver(guard, resolver or HostResolver())
    client = Client(guard, guarded, now)
    try:
        yield client
    finally:
        await client.pool.close_all()
        await guarded.close()
