"""How an operation of the API is described: what it takes, its responses, its problems and headers."""

from dataclasses import dataclass
from typing import Final, Literal

from marshmallow import Schema

from reportsim.schemas.strict import Strict

JSON: Final = "application/json"
CSV: Final = "text/csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseSpec:
    """An answer that is no problem: its status, what it means, its body and its headers.

    `page` says that browsers get a page instead; the status `default` may be any, also one of a problem.
    """

    status: int | Literal["default"]
    about: str
    shape: type[Schema] | None = None
    media: str = JSON
    headers: tuple[str, ...] = ()
    page: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What an endpoint takes and answers; `problems` are those beyond what can happen to every request."""

    tag: str
    answers: tuple[ResponseSpec, ...]
    problems: tuple[str, ...] = ()
    body: type[Strict] | None = None
    query: type[Strict] | None = None
    headers: tuple[str, ...] = ()
    limited: bool = False
    called_back: bool = False


LIMITED: Final = ("RateLimit", "RateLimit-Policy")
BODY: Final = (
    "malformed-request",
    "request-timeout",
    "too-large",
    "unsupported-media-type",
    "invalid-parameters",
)
KEYED: Final = ("invalid-idempotency-key", "idempotency-in-progress", "idempotency-mismatch", "quota-exceeded")
SUBMISSION_HEADERS: Final = ("X-Idempotency-Key", "Idempotency-Key", "Prefer", "traceparent", "X-Request-Id")
ENDED: Final = ("Server-Timing",)
ACCEPTED: Final = ("Location", "Retry-After", "Idempotent-Replayed", "Preference-Applied", *LIMITED)
REPORT_HEADERS: Final = ("ETag", "Last-Modified", "Repr-Digest", "Accept-Ranges", "Content-Disposition")
