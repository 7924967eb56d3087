"""One callback attempt: a POST, a bounded response, and its result."""

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from reportsim.core.backoff import parse_retry_after
from reportsim.core.callback_policy.urls import CallbackTarget
from reportsim.engine.delivery.connection import DeadlineExceeded
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


@dataclass(slots=True, kw_only=True)
class AttemptResult:
    """How an attempt ended; `final` ends the series whatever number of attempts is left."""

    success: bool
    status_code: int | None = None
    reason: Reason | None = None
    error_message: str | None = None
    response_time_ms: float = 0.0
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
    """Makes one POST; every way in which it can end is a result, none is an exception.

    Only `ResourceShortage` is raised: there was no attempt. `known` says that the destination answered lately.

    The status decides. A body that does not end within the timeout fails an attempt with a 2xx status, because the
    receiver is still working on it. With any other status it changes nothing.
    """
    dial = Dial(target, known)
    current.set(dial)
    started = time.monotonic()
    received = Received()
    try:
        response = await client.post(target, body, headers, asyncio.get_running_loop().time() + timeout)
        try:
            received.status = response.head.status
            received.retry_after = response.head.first("retry-after")
            received.excerpt = await response.read_excerpt()
        finally:
            client.release(response, target)
    except ResourceShortage:
        raise
    except Exception as error:
        ended = result_of_error(error, dial, received, now, timeout)
    else:
        ended = result_of_response(received, now)
    ended.response_time_ms = round((time.monotonic() - started) * 1000, 3)
    ended.remote_ip = dial.peer
    return ended


@dataclass(slots=True)
class Received:
    """What has arrived of a response."""

    status: int | None = None
    retry_after: str | None = None
    excerpt: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return self.status is not None and 200 <= self.status < 300


def result_of_response(received: Received, now: datetime) -> AttemptResult:
    """The result of an attempt whose status arrived."""
    if received.is_success:
        return AttemptResult(success=True, status_code=received.status, excerpt=received.excerpt)
    hint = received.retry_after if received.status in HINTING else None
    return AttemptResult(
        success=False,
        status_code=received.status,
        reason=Reason.STATUS,
        error_message=f"The receiver answered {received.status}.",
        excerpt=received.excerpt,
        retry_after=parse_retry_after(hint, now) if hint else None,
        final=received.status == GONE,
    )


def result_of_error(error: Exception, dial: Dial, received: Received, now: datetime, timeout: float) -> AttemptResult:
    """The result of an attempt that an error ended."""
    if dial.refusal is not None:
        reason, message = Reason.REFUSED, f"{dial.refusal.reason}: {dial.refusal.detail}"
    elif received.status is None or received.is_success:
        reason, message = explain(error, timeout)
    else:
        return result_of_response(received, now)
    return AttemptResult(
        success=False,
        status_code=received.status,
        reason=reason,
        error_message=message,
        final=dial.refusal is not None,
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
        case TimeoutError() | DeadlineExceeded():
            return Reason.TIMEOUT, f"No complete answer within {timeout:g} s."
        case BadResponse():
            return Reason.RESET, "The answer is not HTTP, or its head has no end."
        case OSError() | asyncio.IncompleteReadError():
            return Reason.RESET, "The receiver closed the connection without an answer."
    log.error("an attempt failed unexpectedly", exc_info=error)
    return Reason.RESET, f"The attempt failed unexpectedly ({type(error).__name__})."
