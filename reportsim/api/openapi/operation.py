"""How an operation of the API is described: parameters, body, responses, problems and headers."""

from dataclasses import dataclass
from typing import Final, Literal

from marshmallow import Schema

from reportsim.schemas.strict import Strict

JSON: Final = "application/json"
CSV: Final = "text/csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseSpec:
    """A response that is not a problem: its status, description, body and headers.

    With `html`, browsers get a page instead. The status `default` stands for any status.
    """

    status: int | Literal["default"]
    description: str
    schema: type[Schema] | None = None
    media_type: str = JSON
    headers: tuple[str, ...] = ()
    html: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What an endpoint takes and returns; `problems` are those besides the ones of every request."""

    tag: str
    responses: tuple[ResponseSpec, ...]
    problems: tuple[str, ...] = ()
    body: type[Strict] | None = None
    query: type[Strict] | None = None
    headers: tuple[str, ...] = ()
    rate_limited: bool = False
    has_callback: bool = False


RATE_LIMIT_HEADERS: Final = ("RateLimit", "RateLimit-Policy")
BODY_PROBLEMS: Final = (
    "malformed-request",
    "request-timeout",
    "too-large",
    "unsupported-media-type",
    "invalid-parameters",
)
IDEMPOTENCY_PROBLEMS: Final = (
    "invalid-idempotency-key",
    "idempotency-in-progress",
    "idempotency-mismatch",
    "quota-exceeded",
)
SUBMISSION_HEADERS: Final = ("X-Idempotency-Key", "Idempotency-Key", "Prefer", "traceparent", "X-Request-Id")
TIMING_HEADERS: Final = ("Server-Timing",)
ACCEPTED_HEADERS: Final = ("Location", "Retry-After", "Idempotent-Replayed", "Preference-Applied", *RATE_LIMIT_HEADERS)
REPORT_HEADERS: Final = ("ETag", "Last-Modified", "Repr-Digest", "Accept-Ranges", "Content-Disposition")
