"""One callback attempt on the wire: a POST, a bounded answer, and what it came to."""

import asyncio
import contextlib
import logging
import ssl
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import aiohttp

from reportsim.core.backoff import parse_retry_after
from reportsim.core.callback_urls import CallbackTarget
from reportsim.engine.guard import Dial, current

log = logging.getLogger(__name__)

MOST_ANSWER: Final = 64 * 1024
EXCERPT: Final = 1_000
GONE: Final = 410
HINTING: Final = frozenset({429, 503})
GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS


class Reason(StrEnum):
    """Why an attempt failed."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    STATUS = "status"
    RESET = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended; `final` ends the series whatever attempts are left."""

    success: bool
    status_code: int | None = None
    reason: Reason | None = None
    error_message: str | None = None
    response_time_ms: float
    remote_ip: str | None = None
    excerpt: str | None = None
    retry_after: float | None = None
    final: bool = False


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
    dial = Dial(target)
    current.set(dial)
    started = time.monotonic()
    status: int | None = None

    def ended(reason: Reason | None, message: str | None, **more: Any) -> Outcome:
        return Outcome(
            success=reason is None,
            status_code=status,
            reason=reason,
            error_message=message,
            response_time_ms=round((time.monotonic() - started) * 1000, 3),
            remote_ip=dial.peer,
            **more,
        )

    try:
        async with (
            asyncio.timeout(timeout),
            session.post(target.url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            status = response.status
            excerpt = await read_excerpt(response)
            hint = response.headers.get("Retry-After") if status in HINTING else None
    except Exception as error:
        if dial.refusal is not None:
            return ended(Reason.REFUSED, f"{dial.refusal.reason}: {dial.refusal.detail}", final=True)
        return ended(*explain(error, timeout))
    if 200 <= status < 300:
        return ended(None, None, excerpt=excerpt)
    return ended(
        Reason.STATUS,
        f"The receiver answered {status}.",
        excerpt=excerpt,
        retry_after=parse_retry_after(hint, now) if hint else None,
        final=status == GONE,
    )


async def read_excerpt(response: aiohttp.ClientResponse) -> str:
    """Reads the answer to its end or up to the bound, and keeps its beginning as text, decompressed."""
    kept = bytearray()
    while len(kept) < MOST_ANSWER:
        chunk = await response.content.read(MOST_ANSWER - len(kept))
        if not chunk:
            break
        kept += chunk
    text = bytes(kept)
    if response.headers.get("Content-Encoding", "").strip().lower() in {"gzip", "x-gzip", "deflate"}:
        # What does not decompress is shown as it came: the status alone decides.
        with contextlib.suppress(zlib.error):
            text = zlib.decompressobj(GZIP_OR_ZLIB).decompress(text, EXCERPT)
    return text[:EXCERPT].decode(errors="replace").replace("\0", "\ufffd")


def explain(error: Exception, timeout: float) -> tuple[Reason, str]:
    """The kind of failure, and one sentence about it."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return Reason.DNS, "The host name could not be resolved."
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as found):
            return Reason.TLS, f"The certificate was not accepted: {found.verify_message}."
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return Reason.TLS, f"No TLS connection: {getattr(error, 'strerror', None) or type(error).__name__}"
        case aiohttp.ClientConnectorError():
            return Reason.CONNECT, f"No connection: {error.os_error.strerror or error.os_error}"
        case TimeoutError():
            return Reason.TIMEOUT, f"No complete answer within {timeout:g} s."
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            return Reason.RESET, "The receiver closed the connection without a complete answer."
        case aiohttp.ClientPayloadError():
            return Reason.RESET, "The answer ended before it was complete."
        case aiohttp.ClientResponseError():
            return Reason.RESET, "The answer is not HTTP as it should be."
    log.error("an attempt failed unexpectedly", exc_info=error)
    return Reason.RESET, f"The attempt failed unexpectedly ({type(error).__name__})."
