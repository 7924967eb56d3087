"""What each endpoint takes and answers: `/openapi.json` is made from this table and from the schemas that validate."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web
from marshmallow import Schema

from reportsim.api import benchmarks, callbacks, events, metrics, reports, requests, submissions
from reportsim.api import health as ops
from reportsim.demo_receiver import handlers as receiver
from reportsim.schemas import benchmarks as benchmark_shapes
from reportsim.schemas import responses
from reportsim.schemas.requests import (
    AsyncSubmission,
    BenchmarkPlan,
    FailingSubmission,
    Strict,
    Submission,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON: Final = "application/json"
CSV: Final = "text/csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
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
    answers: tuple[Answer, ...]
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

LATER: Final = (
    Answer(
        status=202,
        about="Accepted, after the COMMIT: the request as it was accepted, also to whoever repeats the key.",
        shape=responses.Request,
        headers=ACCEPTED,
    ),
    Answer(
        status=200,
        about="It ended while the client would wait (`Prefer: wait`), COMPLETED or FAILED.",
        shape=responses.Request,
        headers=("Preference-Applied", *ENDED, *LIMITED),
    ),
)

OPERATIONS: Final[Mapping[Handler, Operation]] = {
    submissions.create_sync: Operation(
        tag="Submitting",
        body=Submission,
        headers=SUBMISSION_HEADERS,
        limited=True,
        answers=(
            Answer(
                status=200,
                about="The finished report. After `Prefer: respond-async, wait` also a request that FAILED.",
                shape=responses.Request,
                headers=("Idempotent-Replayed", "Preference-Applied", *ENDED, *LIMITED),
            ),
            Answer(
                status=202,
                about="Accepted for later, with `Prefer: respond-async` alone.",
                shape=responses.Request,
                headers=ACCEPTED,
            ),
        ),
        problems=(*BODY, *KEYED, "cancelled", "report-failed", "no-capacity"),
    ),
    submissions.create_async: Operation(
        tag="Submitting",
        body=AsyncSubmission,
        headers=SUBMISSION_HEADERS,
        limited=True,
        called_back=True,
        answers=LATER,
        problems=(*BODY, *KEYED),
    ),
    submissions.simulate_failures: Operation(
        tag="Callbacks",
        body=FailingSubmission,
        headers=SUBMISSION_HEADERS,
        limited=True,
        answers=LATER,
        problems=(*BODY, *KEYED),
    ),
    requests.list_requests: Operation(
        tag="Requests",
        query=requests.ListQuery,
        answers=(Answer(status=200, about="One page, newest first.", shape=responses.RequestPage, headers=("Link",)),),
        problems=("invalid-cursor", "invalid-parameters"),
    ),
    requests.get_request: Operation(
        tag="Requests",
        headers=("Prefer",),
        answers=(
            Answer(
                status=200,
                about="The request, whatever its state: one that failed is also a 200, with an `error`.",
                shape=responses.Request,
                headers=("Retry-After", "Preference-Applied", *ENDED),
            ),
        ),
        problems=("not-found",),
    ),
    requests.cancel_request: Operation(
        tag="Requests",
        answers=(Answer(status=200, about="The request, which has FAILED now.", shape=responses.Request),),
        problems=("not-found", "conflict"),
    ),
    requests.redeliver: Operation(
        tag="Callbacks",
        limited=True,
        answers=(
            Answer(
                status=202,
                about="A new series of attempts has begun.",
                shape=responses.Request,
                headers=("Location", *LIMITED),
            ),
        ),
        problems=("not-found", "conflict", "quota-exceeded"),
    ),
    callbacks.redeliver_many: Operation(
        tag="Callbacks",
        body=callbacks.Redelivery,
        limited=True,
        answers=(
            Answer(
                status=202, about="New series of attempts have begun.", shape=responses.Redelivered, headers=LIMITED
            ),
        ),
        problems=(*BODY, "quota-exceeded"),
    ),
    requests.get_callback_logs: Operation(
        tag="Callbacks",
        answers=(
            Answer(status=200, about="The attempts, oldest first.", shape=responses.CallbackLogs, headers=("Link",)),
        ),
        query=requests.LogsQuery,
        problems=("not-found", "invalid-parameters", "invalid-cursor"),
    ),
    reports.download: Operation(
        tag="Reports",
        headers=(
            *("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since"),
            *("Range", "If-Range"),
        ),
        answers=(
            Answer(status=200, about="The file.", media=CSV, headers=reports.HEADERS),
            Answer(status=206, about="A part of the file.", media=CSV, headers=(*reports.HEADERS, "Content-Range")),
            Answer(status=304, about="The client has the file already.", media="", headers=("ETag",)),
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
    requests.list_ledgers: Operation(
        tag="Reports",
        answers=(Answer(status=200, about="All ledgers.", shape=responses.Ledgers),),
    ),
    events.stream_events: Operation(
        tag="Events",
        query=events.EventsQuery,
        headers=("Last-Event-ID",),
        answers=(Answer(status=200, about="A stream of events.", shape=responses.Event, media="text/event-stream"),),
        problems=("invalid-parameters", "quota-exceeded"),
    ),
    benchmarks.create_benchmark: Operation(
        tag="Benchmark",
        body=BenchmarkPlan,
        headers=("Prefer",),
        limited=True,
        answers=(
            Answer(
                status=202,
                about="The run has been stored and begins.",
                shape=benchmark_shapes.Benchmark,
                headers=("Location", "Retry-After", *LIMITED),
            ),
            Answer(
                status=200,
                about="It ended while the client would wait (`Prefer: wait`).",
                shape=benchmark_shapes.Benchmark,
                headers=("Location", "Preference-Applied", *LIMITED),
            ),
        ),
        problems=(*BODY, "conflict", "quota-exceeded"),
    ),
    benchmarks.list_benchmarks: Operation(
        tag="Benchmark",
        query=benchmarks.BenchmarksQuery,
        answers=(Answer(status=200, about="The newest runs.", shape=benchmark_shapes.Benchmarks),),
        problems=("invalid-parameters",),
    ),
    benchmarks.get_benchmark: Operation(
        tag="Benchmark",
        headers=("Prefer",),
        answers=(
            Answer(
                status=200,
                about="The run, whatever its state.",
                shape=benchmark_shapes.Benchmark,
                headers=("Retry-After", "Preference-Applied"),
            ),
        ),
        problems=("not-found",),
    ),
    benchmarks.compare_benchmarks: Operation(
        tag="Benchmark",
        query=benchmarks.ComparisonQuery,
        answers=(Answer(status=200, about="Both runs.", shape=benchmark_shapes.RunsCompared),),
        problems=("forbidden-origin", "not-found", "conflict", "invalid-parameters"),
    ),
    benchmarks.cancel_benchmark: Operation(
        tag="Benchmark",
        answers=(Answer(status=200, about="The run, which is CANCELLED now.", shape=benchmark_shapes.Benchmark),),
        problems=("not-found", "conflict"),
    ),
    benchmarks.show_report: Operation(
        tag="Benchmark",
        answers=(Answer(status=200, about="The page.", media="text/html"),),
        problems=("forbidden-origin", "not-found", "conflict", "quota-exceeded"),
    ),
    benchmarks.download_samples: Operation(
        tag="Benchmark",
        answers=(Answer(status=200, about="The rows.", media=CSV, headers=("Content-Disposition",)),),
        problems=("forbidden-origin", "not-found", "conflict", "quota-exceeded"),
    ),
    receiver.receive: Operation(
        tag="Callbacks",
        query=receiver.ScriptQuery,
        headers=("webhook-attempt",),
        answers=(
            Answer(status=200, about="Taken and kept.", shape=responses.Received),
            Answer(status="default", about="Kept, and refused or taken as the script says.", shape=responses.Received),
        ),
        problems=("request-timeout", "too-large", "not-found", "invalid-parameters"),
    ),
    receiver.show_inbox: Operation(
        tag="Callbacks",
        query=receiver.InboxQuery,
        answers=(
            Answer(
                status=200,
                about="The last arrivals, oldest first.",
                shape=responses.Inbox,
                headers=("Vary",),
                page=True,
            ),
        ),
        problems=("not-found", "invalid-parameters"),
    ),
    ops.healthz: Operation(
        tag="Operations",
        answers=(Answer(status=200, about="It is alive.", shape=responses.Health),),
    ),
    ops.readyz: Operation(
        tag="Operations",
        answers=(
            Answer(status=200, about="Ready.", shape=responses.Readiness),
            Answer(status=503, about="Not ready.", shape=responses.Readiness, headers=("Retry-After",)),
        ),
    ),
    metrics.show_metrics: Operation(
        tag="Operations",
        answers=(Answer(status=200, about="Prometheus' text format.", media="text/plain"),),
    ),
}
