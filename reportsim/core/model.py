"""The request and its callback log, as the tables and the API name them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import orjson

Json = dict[str, Any]


class Mode(StrEnum):
    """How the client learns the result."""

    SYNC = "sync"
    ASYNC = "async"


class Status(StrEnum):
    """Where a request stands; it only ever moves down this list."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED})


PROGRESS = {Status.PENDING: 0, Status.PROCESSING: 1, Status.COMPLETED: 2, Status.FAILED: 2}


class CallbackStatus(StrEnum):
    """Where the latest series of callback attempts stands."""

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


def progress(status: Status, callback_status: CallbackStatus | None, series: int, attempts: int) -> tuple[int, ...]:
    """How far a request has come: later states compare greater."""
    settled = callback_status not in {None, CallbackStatus.PENDING}
    return PROGRESS[status], series, attempts, int(settled)


@dataclass(slots=True, kw_only=True)
class Request:
    """One row of `requests`: the job, its state and its history.

    Nobody changes one that others have. It is not frozen, because making a frozen one takes ten times as long.
    """

    id: UUID
    mode: Mode
    status: Status
    input_payload: Json
    result_payload: Json | None = None
    error: Json | None = None
    callback_url: str | None = None
    callback_origin: str | None = None
    callback_status: CallbackStatus | None = None
    callback_attempts: int = 0
    callback_series: int = 1
    callback_fence: int = 0
    callback_demo: bool = False
    callback_base: str | None = None
    idempotency_key: str | None = None
    endpoint: str
    ledger_id: int
    ledger_version: int
    report_version: int
    csv_guard: bool = True
    run_id: UUID | None = None
    http_request_id: str | None = None
    traceparent: str | None = None
    client: bytes | None = field(default=None, repr=False)
    """A keyed hash of who asked; never shown."""
    planned_s: float = 0.0
    """The seconds for which `simulate` holds a slot."""
    tries: int = 0
    takeovers: int = 0
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None

    def changed(self, **changes: Any) -> "Request":
        """A copy in which some fields are different; `dataclasses.replace` takes twice as long."""
        copy: Request = object.__new__(Request)
        for name in COLUMNS:
            setattr(copy, name, getattr(self, name))
        for name, value in changes.items():
            setattr(copy, name, value)
        return copy

    @property
    def ended(self) -> bool:
        """Whether the status is terminal."""
        return self.status in TERMINAL

    @property
    def progress(self) -> tuple[int, ...]:
        """How far the request has come: later states compare greater."""
        return progress(self.status, self.callback_status, self.callback_series, self.callback_attempts)

    @property
    def file(self) -> str:
        """The name of the report's CSV file."""
        return f"{self.id}.csv"

    def as_json(self, base_url: str = "") -> Json:
        """The request as every endpoint shows it; `base_url` makes the links absolute."""
        id = str(self.id)
        path = f"{base_url}/api/requests/{id}"
        has_file = self.result_payload is not None
        return {
            "id": id,
            "mode": self.mode,
            "status": self.status,
            "input_payload": self.input_payload,
            "result_payload": self.result_payload,
            "callback_url": self.callback_url,
            "callback_status": self.callback_status,
            "callback_attempts": self.callback_attempts,
            "idempotency_key": self.idempotency_key,
            "created_at": rfc3339(self.created_at),
            "started_at": rfc3339(self.started_at),
            "completed_at": rfc3339(self.completed_at),
            "error": self.error,
            "links": {
                "self": path,
                "report": f"{base_url}/api/reports/{id}.csv" if has_file else None,
                "callback_logs": f"{path}/callback-logs",
            },
        }


COLUMNS: Final = tuple(field.name for field in fields(Request))


@dataclass(slots=True, kw_only=True)
class CallbackLog:
    """One row of `callback_logs`: a callback attempt whose end the service saw. Not frozen either."""

    id: UUID
    request_id: UUID
    series: int
    attempt_number: int
    status_code: int | None
    success: bool
    reason: str | None
    error_message: str | None
    response_time_ms: float
    attempted_at: datetime
    remote_ip: str | None
    response_excerpt: str | None
    next_attempt_at: datetime | None

    def as_json(self) -> Json:
        """The log row as the API shows it."""
        return {
            "id": str(self.id),
            "request_id": str(self.request_id),
            "series": self.series,
            "attempt_number": self.attempt_number,
            "status_code": self.status_code,
            "success": self.success,
            "reason": self.reason,
            "error_message": self.error_message,
            "response_time_ms": self.response_time_ms,
            "attempted_at": rfc3339(self.attempted_at),
            "remote_ip": self.remote_ip,
            "response_excerpt": self.response_excerpt,
            "next_attempt_at": rfc3339(self.next_attempt_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A ledger as of its newest version, from its first to its last day of entries."""

    ledger_id: int
    name: str
    currency: str
    exponent: int
    version: int
    first_on: date
    last_on: date
    lines: int

    @property
    def after(self) -> date:
        """The day after the last entry; the calendar's last day, which as the end of a window includes itself."""
        return self.last_on + timedelta(days=1) if self.last_on < date.max else self.last_on

    def as_json(self) -> Json:
        """The ledger as the API shows it; the window is half-open."""
        return {
            "name": self.name,
            "currency": self.currency,
            "exponent": self.exponent,
            "from": self.first_on.isoformat(),
            "to": self.after.isoformat(),
            "lines": self.lines,
        }


def rfc3339(moment: datetime | None) -> str | None:
    """An aware moment in UTC with `Z` (RFC 3339), microseconds kept."""
    if moment is None:
        return None
    utc = moment.astimezone(UTC)
    # Three of them are in every request that is shown, and `isoformat` takes several times as long.
    text = orjson.dumps(utc, option=orjson.OPT_UTC_Z).decode()[1:-1]
    return text if utc.microsecond else f"{text[:-1]}.000000Z"


def callback_event(request: Request, base_url: str) -> Mapping[str, Any]:
    """The body of a callback: the same bytes on every attempt of every series.

    Counters of the delivery itself stay at their first value, since they change between attempts.
    """
    data = request.as_json(base_url)
    data["callback_status"] = CallbackStatus.PENDING
    data["callback_attempts"] = 0
    kind = "report.completed" if request.status is Status.COMPLETED else "report.failed"
    return {"type": kind, "timestamp": data["completed_at"], "data": data}
