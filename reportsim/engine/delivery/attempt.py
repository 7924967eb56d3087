"""One callback attempt on the wire: a POST, a bounded answer, and what it came to."""

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from reportsim.core.backoff import parse_retry_after
from reportsim.core.callback_policy.urls import CallbackTarget
from reportsim.engine.delivery.http_client import Client, UnconnectedError, UnresolvedError
from reportsim.engine.delivery.response_reader import BadResponse
from reportsim.engine.delivery.ssrf_guard import Dial, ResourceShortage, current

log = logging.getLogger(__name__)

GONE: Final = 410
HINTING: Final = frozenset({429, 503})


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
class AttemptResult:
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
    client: Client,
    target: CallbackTarget,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout: float,
    now: datetime,
    known: bool = False,
) -> AttemptResult:
    """Makes one POST; every way it can end is an outcome, none is an exception.

    Only `ResourceShortage` is raised: there was no attempt. `known` says that the destination answered lately.

    The status decides. A body that has no end within the time fails an attempt that a 2xx would let succeed: the
    receiver is still at work on it. Behind any other status it changes nothing.
    """
    dial = Dial(target, known)
    current.set(dial)
    started = time.monotonic()
    status, excerpt, hint = None, None, None

    def ended(reason: Reason | None, message: str | None, **more: Any) -> AttemptResult:
        return AttemptResult(
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
            client.post(target, body, headers) as response,
        ):
            status = response.head.status
            hint = response.head.first("retry-after") if status in HINTING else None
            excerpt = await response.read_excerpt()
    except ResourceShortage:
        raise
    except Exception as error:
        if dial.refusal is not None:
            return ended(Reason.REFUSED, f"{dial.refusal.reason}: {dial.refusal.detail}", final=True)
        if status is None or 200 <= status < 300:
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


def explain(error: Exception, timeout: float) -> tuple[Reason, str]:
    """The kind of failure, and one sentence about it."""
    match error:
        case UnresolvedError():
            return Reason.DNS, "The host name could not be resolved."
        case UnconnectedError():
            return Reason.CONNECT, f"No connection: {error}."
        case ssl.SSLCertVerificationError():
            return Reason.TLS, f"The certificate was not accepted: {error.verify_message}."
        case ssl.SSLError():
            return Reason.TLS, f"No TLS connection: {error.reason or error.strerror or type(error).__name__}."
        case TimeoutError():
            return Reason.TIMEOUT, f"No complete answer within {timeout:g} s."
        case BadResponse():
            return Reason.RESET, "The answer is not HTTP, or its head has no end."
        case OSError() | asyncio.IncompleteReadError():
            return Reason.RESET, "The receiver closed the connection without an answer."
    log.error("an attempt failed unexpectedly", exc_info=error)
    return Reason.RESET, f"The attempt failed unexpectedly ({type(error).__name__})."
