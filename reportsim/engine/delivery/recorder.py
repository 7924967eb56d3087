"""Recording attempts: the log row, the state of the series, and the wait before the next attempt."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from reportsim.core.backoff import wait_after
from reportsim.core.clock import Clock
from reportsim.core.model import CallbackLog, CallbackStatus, Request
from reportsim.engine.delivery.attempt import AttemptResult
from reportsim.engine.owner import Owner
from reportsim.store import callbacks as store
from reportsim.store.batcher import Batcher
from reportsim.store.pool import persist

log = logging.getLogger(__name__)

# A statement costs as much as ten of its rows, and nobody waits for them.
GATHER_S: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a callback is attempted, and the waits between attempts."""

    waits: tuple[float, ...]
    jitter: float
    attempts: int


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """A request whose series goes on, and the seconds until its next attempt."""

    request: Request
    wait: float


class AttemptRecorder:
    """Records what attempts came to, and publishes it."""

    def __init__(
        self,
        owner: Owner,
        policy: RetryPolicy,
        *,
        clock: Clock,
        new_id: Callable[[], UUID],
        publish: Callable[[list[Request]], None],
        publish_log: Callable[[CallbackLog, UUID | None], None],
    ) -> None:
        """Records for an owner; `publish` takes new states of requests, `publish_log` rows of the log."""
        self._owner = owner
        self._policy = policy
        self._clock = clock
        self._new_id = new_id
        self._publish = publish
        self._publish_log = publish_log
        self.records: Batcher[tuple[Request, store.Attempt], NextAttempt | None] = Batcher(
            self._write, name="record-attempt", pause=GATHER_S
        )

    def running(self, grace: Callable[[], float]) -> AbstractAsyncContextManager[Any]:
        """Writes as long as the block lasts; what is queued then gets `grace` seconds."""
        return self.records.running(grace)

    def record(self, request: Request, result: AttemptResult, base: str) -> "asyncio.Future[NextAttempt | None]":
        """Has an attempt recorded; None when the series is over, or the fence refused the record."""
        number = request.callback_attempts + 1
        is_last = result.success or result.final or number >= self._policy.attempts
        wait = None if is_last else self._wait_after(number, result)
        entry = store.Attempt(
            log=self._log_row(request, result, wait),
            fence=request.callback_fence,
            status=status_after(result, is_last=is_last),
            wait=timedelta(seconds=wait) if wait is not None else None,
            base=base,
        )
        return self.records.put((request, entry))

    async def _write(self, ended: Sequence[tuple[Request, store.Attempt]]) -> list[NextAttempt | None]:
        """Records attempts however long the database is away, and then publishes what they came to."""
        entries = [entry for _, entry in ended]
        recorded = await persist(lambda: store.record(self._owner.connections, self._owner.id, entries))
        following: list[NextAttempt | None] = [None] * len(ended)
        moved = []
        for place, (request, entry) in enumerate(ended):
            write_log_line(request, entry.log)
            if recorded[place]:
                self._publish_log(entry.log, request.run_id)
                advance(request, entry)
                moved.append(request)
                if entry.wait is not None:
                    following[place] = NextAttempt(request, entry.wait.total_seconds())
        self._publish(moved)
        return following

    def _log_row(self, request: Request, result: AttemptResult, wait: float | None) -> CallbackLog:
        now = self._clock.now()
        return CallbackLog(
            id=self._new_id(),
            request_id=request.id,
            series=request.callback_series,
            attempt_number=request.callback_attempts + 1,
            status_code=result.status_code,
            success=result.success,
            reason=result.reason,
            error_message=result.error_message,
            response_time_ms=result.response_time_ms,
            attempted_at=now - timedelta(milliseconds=result.response_time_ms),
            remote_ip=result.remote_ip,
            response_excerpt=result.excerpt,
            next_attempt_at=now + timedelta(seconds=wait) if wait is not None else None,
        )

    def _wait_after(self, number: int, result: AttemptResult) -> float:
        return wait_after(
            number,
            self._policy.waits,
            retry_after=result.retry_after,
            jitter=self._policy.jitter,
            random=random.random(),
        )


def advance(request: Request, attempt: store.Attempt) -> None:
    """Sets what an attempt has changed of a request."""
    request.callback_status = attempt.status
    request.callback_attempts = attempt.log.attempt_number
    request.callback_base = attempt.base


def status_after(result: AttemptResult, *, is_last: bool) -> CallbackStatus:
    """The status of a series after an attempt."""
    if not is_last:
        return CallbackStatus.PENDING
    return CallbackStatus.SUCCESS if result.success else CallbackStatus.FAILED


def write_log_line(request: Request, row: CallbackLog) -> None:
    """Logs an attempt; those of benchmark runs are many, and logged for debugging only."""
    log.log(
        logging.DEBUG if request.run_id else logging.INFO,
        "callback of %s, attempt %d: %s",
        request.id,
        row.attempt_number,
        row.error_message or "delivered",
        extra={
            "row": str(request.id),
            "request_id": request.http_request_id,
            "trace": request.traceparent,
            "series": request.callback_series,
            "attempt": row.attempt_number,
            "status": row.status_code,
            "ms": row.response_time_ms,
        },
    )
