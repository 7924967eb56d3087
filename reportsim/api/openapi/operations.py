"""What each endpoint takes and answers, by method and path; the OpenAPI document is made from this table."""

from collections.abc import Mapping
from typing import Final

from reportsim.api.openapi.operation import (
    ACCEPTED,
    BODY,
    CSV,
    ENDED,
    KEYED,
    LIMITED,
    REPORT_HEADERS,
    SUBMISSION_HEADERS,
    Operation,
    ResponseSpec,
)
from reportsim.schemas import benchmarks as benchmark_shapes
from reportsim.schemas import responses
from reportsim.schemas.benchmark_plan import BenchmarkPlan
from reportsim.schemas.demo_receiver import InboxQuery, ScriptQuery
from reportsim.schemas.events import EventsQuery
from reportsim.schemas.queries import BenchmarksQuery, ComparisonQuery, ListQuery, LogsQuery
from reportsim.schemas.redelivery import Redelivery
from reportsim.schemas.submissions import AsyncSubmission, FailingSubmission, Submission

LATER: Final = (
    ResponseSpec(
        status=202,
        about="Accepted, after the COMMIT: the request as it was accepted, also to whoever repeats the key.",
        shape=responses.Request,
        headers=ACCEPTED,
    ),
    ResponseSpec(
        status=200,
        about="It ended while the client would wait (`Prefer: wait`), COMPLETED or FAILED.",
        shape=responses.Request,
        headers=("Preference-Applied", *ENDED, *LIMITED),
    ),
)

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("POST", "/api/sync"): Operation(
        tag="Submitting",
        body=Submission,
        headers=SUBMISSION_HEADERS,
        limited=True,
        answers=(
            ResponseSpec(
                status=200,
                about="The finished report. After `Prefer: respond-async, wait` also a request that FAILED.",
                shape=responses.Request,
                headers=("Idempotent-Replayed", "Preference-Applied", *ENDED, *LIMITED),
            ),
            ResponseSpec(
                status=202,
                about="Accepted for later, with `Prefer: respond-async` alone.",
                shape=responses.Request,
                headers=ACCEPTED,
            ),
        ),
        problems=(*BODY, *KEYED, "cancelled", "report-failed", "no-capacity"),
    ),
    ("POST", "/api/async"): Operation(
        tag="Submitting",
        body=AsyncSubmission,
        headers=SUBMISSION_HEADERS,
        limited=True,
        called_back=True,
        answers=LATER,
        problems=(*BODY, *KEYED),
    ),
    ("POST", "/api/callbacks/simulate-failures"): Operation(
        tag="Callbacks",
        body=FailingSubmission,
        headers=SUBMISSION_HEADERS,
        limited=True,
        answers=LATER,
        problems=(*BODY, *KEYED),
    ),
    ("GET", "/api/requests"): Operation(
        tag="Requests",
        query=ListQuery,
        answers=(
            ResponseSpec(status=200, about="One page, newest first.", shape=responses.RequestPage, headers=("Link",)),
        ),
        problems=("invalid-cursor", "invalid-parameters"),
    ),
    ("GET", "/api/requests/{id}"): Operation(
        tag="Requests",
        headers=("Prefer",),
        answers=(
            ResponseSpec(
                status=200,
                about="The request, whatever its state: one that failed is also a 200, with an `error`.",
                shape=responses.Request,
                headers=("Retry-After", "Preference-Applied", *ENDED),
            ),
        ),
        problems=("not-found",),
    ),
    ("POST", "/api/requests/{id}/cancel"): Operation(
        tag="Requests",
        answers=(ResponseSpec(status=200, about="The request, which has FAILED now.", shape=responses.Request),),
        problems=("not-found", "conflict"),
    ),
    ("POST", "/api/requests/{id}/redeliver"): Operation(
        tag="Callbacks",
        limited=True,
        answers=(
            ResponseSpec(
                status=202,
                about="A new series of attempts has begun.",
                shape=responses.Request,
                headers=("Location", *LIMITED),
            ),
        ),
        problems=("not-found", "conflict", "quota-exceeded"),
    ),
    ("POST", "/api/requests/redeliver"): Operation(
        tag="Callbacks",
        body=Redelivery,
        limited=True,
        answers=(
            ResponseSpec(
                status=202, about="New series of attempts have begun.", shape=responses.Redelivered, headers=LIMITED
            ),
        ),
        problems=(*BODY, "quota-exceeded"),
    ),
    ("GET", "/api/requests/{id}/callback-logs"): Operation(
        tag="Callbacks",
        answers=(
            ResponseSpec(
                status=200, about="The attempts, oldest first.", shape=responses.CallbackLogs, headers=("Link",)
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
        answers=(
            ResponseSpec(status=200, about="The file.", media=CSV, headers=REPORT_HEADERS),
            ResponseSpec(
                status=206, about="A part of the file.", media=CSV, headers=(*REPORT_HEADERS, "Content-Range")
            ),
            ResponseSpec(status=304, about="The client has the file already.", media="", headers=("ETag",)),
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
        answers=(ResponseSpec(status=200, about="All ledgers.", shape=responses.Ledgers),),
    ),
    ("GET", "/api/events"): Operation(
        tag="Events",
        query=EventsQuery,
        headers=("Last-Event-ID",),
        answers=(
            ResponseSpec(status=200, about="A stream of events.", shape=responses.Event, media="text/event-stream"),
        ),
        problems=("invalid-parameters", "quota-exceeded"),
    ),
    ("POST", "/api/benchmark/both"): Operation(
        tag="Benchmark",
        body=BenchmarkPlan,
        headers=("Prefer",),
        limited=True,
        answers=(
            ResponseSpec(
                status=202,
                about="The run has been stored and begins.",
                shape=benchmark_shapes.Benchmark,
                headers=("Location", "Retry-After", *LIMITED),
            ),
            ResponseSpec(
                status=200,
                about="It ended while the client would wait (`Prefer: wait`).",
                shape=benchmark_shapes.Benchmark,
                headers=("Location", "Preference-Applied", *LIMITED),
            ),
        ),
        problems=(*BODY, "conflict", "quota-exceeded"),
    ),
    ("GET", "/api/benchmark"): Operation(
        tag="Benchmark",
        query=BenchmarksQuery,
        answers=(ResponseSpec(status=200, about="The newest runs.", shape=benchmark_shapes.Benchmarks),),
        problems=("invalid-parameters",),
    ),
    ("GET", "/api/benchmark/{id}"): Operation(
        tag="Benchmark",
        headers=("Prefer",),
        answers=(
            ResponseSpec(
                status=200,
                about="The run, whatever its state.",
                shape=benchmark_shapes.Benchmark,
                headers=("Retry-After", "Preference-Applied"),
            ),
        ),
        problems=("not-found",),
    ),
    ("GET", "/api/benchmark/{id}/comparison"): Operation(
        tag="Benchmark",
        query=ComparisonQuery,
        answers=(ResponseSpec(status=200, about="Both runs.", shape=benchmark_shapes.RunsCompared),),
        problems=("forbidden-origin", "not-found", "conflict", "invalid-parameters"),
    ),
    ("POST", "/api/benchmark/{id}/cancel"): Operation(
        tag="Benchmark",
        answers=(ResponseSpec(status=200, about="The run, which is CANCELLED now.", shape=benchmark_shapes.Benchmark),),
        problems=("not-found", "conflict"),
    ),
    ("GET", "/api/benchmark/{id}/report.html"): Operation(
        tag="Benchmark",
        answers=(ResponseSpec(status=200, about="The page.", media="text/html"),),
        problems=("forbidden-origin", "not-found", "conflict", "quota-exceeded"),
    ),
    ("GET", "/api/benchmark/{id}/samples.csv"): Operation(
        tag="Benchmark",
        answers=(ResponseSpec(status=200, about="The rows.", media=CSV, headers=("Content-Disposition",)),),
        problems=("forbidden-origin", "not-found", "conflict", "quota-exceeded"),
    ),
    ("POST", "/webhook-test/{inbox}"): Operation(
        tag="Callbacks",
        query=ScriptQuery,
        headers=("webhook-attempt",),
        answers=(
            ResponseSpec(status=200, about="Taken and kept.", shape=responses.Received),
            ResponseSpec(
                status="default", about="Kept, and refused or taken as the script says.", shape=responses.Received
            ),
        ),
        problems=("request-timeout", "too-large", "not-found", "invalid-parameters"),
    ),
    ("GET", "/webhook-test/{inbox}"): Operation(
        tag="Callbacks",
        query=InboxQuery,
        answers=(
            ResponseSpec(
                status=200,
                about="The last arrivals, oldest first.",
                shape=responses.Inbox,
                headers=("Vary",),
                page=True,
            ),
        ),
        problems=("not-found", "invalid-parameters"),
    ),
    ("GET", "/healthz"): Operation(
        tag="Operations",
        answers=(ResponseSpec(status=200, about="It is alive.", shape=responses.Health),),
    ),
    ("GET", "/readyz"): Operation(
        tag="Operations",
        answers=(
            ResponseSpec(status=200, about="Ready.", shape=responses.Readiness),
            ResponseSpec(status=503, about="Not ready.", shape=responses.Readiness, headers=("Retry-After",)),
        ),
    ),
    ("GET", "/metrics"): Operation(
        tag="Operations",
        answers=(ResponseSpec(status=200, about="Prometheus' text format.", media="text/plain"),),
    ),
}
