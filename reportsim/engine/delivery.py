"""One callback attempt on the wire: guarded connections, a bounded answer, and what it came to."""

import asyncio
import contextlib
import functools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from reportsim.core.addresses import AllowList
from reportsim.core.backoff import parse_retry_after
from reportsim.core.callback_urls import CallbackTarget, OwnReceiver, Refusal, check_dial, check_url

MOST_ANSWER: Final = 64 * 1024
EXCERPT: Final = 1_000
GONE: Final = 410
HINTING: Final = frozenset({429, 503})
CONNECTIONS: Final = 512

dialed: ContextVar[list[str]] = ContextVar("dialed")
target_of: ContextVar[CallbackTarget] = ContextVar("target_of")


class RefusedAddress(OSError):
    """The policy forbids the address; raised before any packet is sent."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keeps the reason code beside the sentence."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended; `final` ends the series whatever attempts are left."""

    success: bool
    status_code: int | None = None
    reason: str | None = None
    error_message: str | None = None
    response_time_ms: float
    remote_ip: str | None = None
    excerpt: str | None = None
    retry_after: float | None = None
    final: bool = False


checked = functools.lru_cache(1_024)(check_url)


class Guard:
    """Holds every connection of the callback client against the address policy: at the resolver and at the socket."""

    def __init__(self, allow: AllowList, own: Sequence[OwnReceiver]) -> None:
        """Takes the policy; `own` may grow while the guard is in use."""
        self.allow = allow
        self.own = own

    def check_url(self, url: str) -> CallbackTarget | Refusal:
        """Decides at submit whether a URL may be called at all; what was decided lately is remembered."""
        return checked(url, self.allow, tuple(self.own))

    def check(self, address: str, port: int) -> None:
        """Raises RefusedAddress unless the current target may be reached at an address."""
        refusal = check_dial(address, port, target_of.get(), self.allow, self.own)
        if refusal:
            raise RefusedAddress(refusal.reason, refusal.detail)

    def socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Makes the socket for one candidate address, the last line of the guard."""
        family, kind, protocol, _, where = address
        self.check(where[0], where[1])
        dialed.get().append(where[0])
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Resolves once per attempt and refuses all answers when a single one is refused."""

    def __init__(self, guard: Guard, resolver: AbstractResolver) -> None:
        """Wraps the resolver that really asks."""
        self._guard = guard
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The answers for a host, all of them allowed."""
        answers = await self._resolver.resolve(host, port, family)
        for answer in answers:
            self._guard.check(answer["host"], port)
        return answers

    async def close(self) -> None:
        """Closes the wrapped resolver."""
        await self._resolver.close()


@contextlib.asynccontextmanager
async def open_client(guard: Guard, resolver: AbstractResolver | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """The HTTP client of callbacks: no redirects, proxies, cookies or reused connections; one dial, one check."""
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(guard, resolver or aiohttp.ThreadedResolver()),
        socket_factory=guard.socket,
        use_dns_cache=False,
        force_close=True,
        limit=CONNECTIONS,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        headers={"User-Agent": "reportsim", "Content-Type": "application/json"},
    ) as session:
        yield session


async def attempt(
    session: aiohttp.ClientSession,
    target: CallbackTarget,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout: float,
    now: datetime,
) -> Outcome:
    """Makes one POST; every way it can end is an outcome, none is an exception."""
    addresses: list[str] = []
    dialed.set(addresses)
    target_of.set(target)
    started = time.monotonic()
    status: int | None = None

    def ended(reason: str | None, message: str | None, **more: Any) -> Outcome:
        return Outcome(
            success=reason is None,
            status_code=status,
            reason=reason,
            error_message=message,
            response_time_ms=round((time.monotonic() - started) * 1000, 3),
            remote_ip=addresses[-1] if addresses else None,
            **more,
        )

    try:
        async with (
            asyncio.timeout(timeout),
            session.post(
                target.url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as response,
        ):
            status = response.status
            excerpt = await read_excerpt(response)
            hint = response.headers.get("Retry-After") if status in HINTING else None
    except TimeoutError:
        return ended("timeout", f"No complete answer within {timeout:g} s.")
    except (aiohttp.ClientError, OSError, ValueError, AssertionError) as error:
        return ended(*explain(error), final=refusal_in(error) is not None)
    if 200 <= status < 300:
        return ended(None, None, excerpt=excerpt)
    return ended(
        "status",
        f"The receiver answered {status}.",
        excerpt=excerpt,
        retry_after=parse_retry_after(hint, now) if hint else None,
        final=status == GONE,
    )


async def read_excerpt(response: aiohttp.ClientResponse) -> str:
    """Reads the answer up to the bound, decompressed, and keeps its beginning as text."""
    kept = bytearray()
    while len(kept) < MOST_ANSWER:
        chunk = await response.content.read(MOST_ANSWER - len(kept))
        if not chunk:
            break
        kept += chunk
    return kept[:EXCERPT].decode(errors="replace").replace("\0", "\ufffd")


def refusal_in(error: BaseException) -> RefusedAddress | None:
    """The guard's refusal, however deeply the client wrapped it."""
    cause: BaseException | None = error
    for _ in range(5):
        if isinstance(cause, RefusedAddress):
            return cause
        cause = getattr(cause, "os_error", None) or (cause.__cause__ if cause else None)
    return None


def explain(error: Exception) -> tuple[str, str]:
    """The kind of failure, and one sentence about it."""
    if refusal := refusal_in(error):
        return "refused", f"{refusal.reason}: {refusal.detail}"
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns", "The host name could not be resolved."
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls", "The TLS connection could not be made: " + type(error).__name__
        case aiohttp.ClientConnectorError():
            return "connect", f"No connection: {error.os_error.strerror or error.os_error}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return "reset", "The receiver closed the connection without a complete answer."
        case aiohttp.ClientPayloadError():
            return "reset", "The answer ended before it was complete."
        case _:
            return "protocol", f"The answer could not be understood ({type(error).__name__})."
