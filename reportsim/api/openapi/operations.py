"""What each endpoint takes and returns, by method and path; the OpenAPI document is built from this table."""

from collections.abc import Mapping
from typing import Final

from reportsim.api.openapi.benchmark_operations import BENCHMARK_OPERATIONS
from reportsim.api.openapi.operation import (
    ACCEPTED_HEADERS,
    BODY_PROBLEMS,
    CSV,
    IDEMPOTENCY_PROBLEMS,
    RATE_LIMIT_HEADERS,
    REPORT_HEADERS,
    SUBMISSION_HEADERS,
    TIMING_HEADERS,
    Operation,
    ResponseSpec,
)
from reportsim.schemas import responses as schemas
from reportsim.schemas.demo_receiver import InboxQuery, ScriptQuery
from reportsim.schemas.events import EventsQuery
from reportsim.schemas.queries import ListQuery, LogsQuery
from reportsim.schemas.redelivery import Redelivery
from reportsim.schemas.submissions import AsyncSubmission, FailingSubmission, Submission

ACCEPTED_RESPONSES: Final = (
    ResponseSpec(
        status=202,
        description="Accepted, after the COMMIT: the request as it was accepted, also for a repeated key.",
        schema=schemas.Request,
        headers=ACCEPTED_HEADERS,
    ),
    ResponseSpec(
        status=200,
        description="It ended while the client would wait (`Prefer: wait`), COMPLETED or FAILED.",
        schema=schemas.Request,
        headers=("Preference-Applied", *TIMING_HEADERS, *RATE_LIMIT_HEADERS),
    ),
)


OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("POST", "/api/sync"): Operation(
        tag="Submitting",
        body=Submission,
        headers=SUBMISSION_HEADERS,
        rate_limited=True,
        responses=(
            ResponseSpec(
                status=200,
                description="The completed report. After `Prefer: respond-async, wait` also a request that FAILED.",
                schema=schemas.Request,
                headers=("Idempotent-Replayed", "Preference-Applied", *TIMING_HEADERS, *RATE_LIMIT_HEADERS),
            ),
            ResponseSpec(
                status=202,
                description="Accepted for later, with `Prefer: respond-async` alone.",
                schema=schemas.Request,
                headers=ACCEPTED_HEADERS,
            ),
        ),
        problems=(*BODY_PROBLEMS, *IDEMPOTENCY_PROBLEMS, "cancelled", "report-failed", "no-capacity"),
    ),
    ("POST", "/api/async"): Operation(
        tag="Submitting",
        body=AsyncSubmission,
        headers=SUBMISSION_HEADERS,
        rate_limited=True,
        has_callback=True,
        responses=ACCEPTED_RESPONSES,
        problems=(*BODY_PROBLEMS, *IDEMPOTENCY_PROBLEMS),
    ),
    ("POST", "/api/callbacks/simulate-failures"): Operation(
        tag="Callbacks",
        body=FailingSubmission,
        headers=SUBMISSION_HEADERS,
        rate_limited=True,
        responses=ACCEPTED_RESPONSES,
        problems=(*BODY_PROBLEMS, *IDEMPOTENCY_PROBLEMS),
    ),
    ("GET", "/api/requests"): Operation(
        tag="Requests",
        query=ListQuery,
        responses=(
            ResponseSpec(
                status=200, description="One page, newest first.", schema=schemas.RequestPage, headers=("Link",)
            ),
        ),
        problems=("invalid-cursor", "invalid-parameters"),
    ),
    ("GET", "/api/requests/{id}"): Operation(
        tag="Requests",
        headers=("Prefer",),
        responses=(
            ResponseSpec(
                status=200,
                description="The request, whatever its state: one that failed is also a 200, with an `error`.",
                schema=schemas.Request,
                headers=("Retry-After", "Preference-Applied", *TIMING_HEADERS),
            ),
        ),
        problems=("not-found",),
    ),
    ("POST", "/api/requests/{id}/cancel"): Operation(
        tag="Requests",
        responses=(ResponseSpec(status=200, description="The request, which has FAILED now.", schema=schemas.Request),),
        problems=("not-found", "conflict"),
    ),
    ("POST", "/api/requests/{id}/redeliver"): Operation(
        tag="Callbacks",
        rate_limited=True,
        responses=(
            ResponseSpec(
                status=202,
                description="A new series of attempts has started.",
                schema=schemas.Request,
                headers=("Location", *RATE_LIMIT_HEADERS),
            ),
        ),
        problems=("not-found", "conflict", "quota-exceeded"),
    ),
    ("POST", "/api/requests/redeliver"): Operation(
        tag="Callbacks",
        body=Redelivery,
        rate_limited=True,
        responses=(
            ResponseSpec(
                status=202,
                description="New series of attempts have started.",
                schema=schemas.Redelivered,
                headers=RATE_LIMIT_HEADERS,
            ),
        ),
        problems=(*BODY_PROBLEMS, "quota-exceeded"),
    ),
    ("GET", "/api/requests/{id}/callback-logs"): Operation(
        tag="Callbacks",
        responses=(
            ResponseSpec(
                status=200, description="The attempts, oldest first.", schema=schemas.CallbackLogs, headers=("Link",)
            ),
        ),
        query=LogsQuery,
        problems=("not-found", "invalid-parameters", "invalid-cursor"),
    ),
    ("GET", "/api/reports/{file}"): Operation(
        tag="Reports",
        headers=(
            *("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since"),
            *("Range", "If-Range"),
        ),
        responses=(
            ResponseSpec(status=200, description="The file.", media_type=CSV, headers=REPORT_HEADERS),
            ResponseSpec(
                status=206,
                description="A range of the file.",
                media_type=CSV,
                headers=(*REPORT_HEADERS, "Content-Range"),
            ),
            ResponseSpec(status=304, description="The client has the file already.", media_type="", headers=("ETag",)),
        ),
        problems=(
            "not-found",
            "report-expired",
            "precondition-failed",
            "range-not-satisfiable",
            "quota-exceeded",
            "report-differs",
            "no-capacity",
        ),
    ),
    ("GET", "/api/ledgers"): Operation(
        tag="Reports",
        responses=(ResponseSpec(status=200, description="All ledgers.", schema=schemas.Ledgers),),
    ),
    ("GET", "/api/events"): Operation(
        tag="Events",
        query=EventsQuery,
        headers=("Last-Event-ID",),
        responses=(
            ResponseSpec(
                status=200, description="A stream of events.", schema=schemas.Event, media_type="text/event-stream"
            ),
        ),
        problems=("invalid-parameters", "quota-exceeded"),
    ),
    **BENCHMARK_OPERATIONS,
    ("POST", "/webhook-test/{inbox}"): Operation(
        tag="Callbacks",
        query=ScriptQuery,
        headers=("webhook-attempt",),
        responses=(
            ResponseSpec(status=200, description="Accepted and stored.", schema=schemas.Received),
            ResponseSpec(
                status="default", description="Stored, and accepted or refused by the script.", schema=schemas.Received
            ),
        ),
        problems=("request-timeout", "too-large", "not-found", "invalid-parameters"),
    ),
    ("GET", "/webhook-test/{inbox}"): Operation(
        tag="Callbacks",
        query=InboxQuery,
        responses=(
            ResponseSpec(
                status=200,
                description="The last callbacks, oldest first.",
                schema=schemas.Inbox,
                headers=("Vary",),
                html=True,
            ),
        ),
        problems=("not-found", "invalid-parameters"),
    ),
    ("GET", "/healthz"): Operation(
        tag="Operations",
        responses=(ResponseSpec(status=200, description="The service is alive.", schema=schemas.Health),),
    ),
    ("GET", "/readyz"): Operation(
        tag="Operations",
        responses=(
            ResponseSpec(status=200, description="Ready.", schema=schemas.Readiness),
            ResponseSpec(status=503, description="Not ready.", schema=schemas.Readiness, headers=("Retry-After",)),
        ),
    ),
    ("GET", "/metrics"): Operation(
        tag="Operations",
        responses=(ResponseSpec(status=200, description="The text format of Prometheus.", media_type="text/plain"),),
    ),
}
