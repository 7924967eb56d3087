"""The operations on benchmark runs."""

from collections.abc import Mapping
from typing import Final

from reportsim.api.openapi.operation import (
    BODY_PROBLEMS,
    CSV,
    RATE_LIMIT_HEADERS,
    Operation,
    ResponseSpec,
)
from reportsim.schemas import benchmarks as schemas
from reportsim.schemas.benchmark_plan import BenchmarkPlan
from reportsim.schemas.queries import BenchmarksQuery, ComparisonQuery, PercentilesQuery
from reportsim.schemas.strict import Strict


def describe_export(content: str, media_type: str, *headers: str, query: type[Strict] | None = None) -> Operation:
    """A file that is made of a finished run."""
    return Operation(
        tag="Benchmark",
        query=query,
        responses=(ResponseSpec(status=200, description=content, media_type=media_type, headers=headers),),
        problems=(
            "forbidden-origin",
            "not-found",
            "conflict",
            *(("invalid-parameters",) if query else ()),
            "quota-exceeded",
        ),
    )


BENCHMARK_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("POST", "/api/benchmark/both"): Operation(
        tag="Benchmark",
        body=BenchmarkPlan,
        headers=("Prefer",),
        rate_limited=True,
        responses=(
            ResponseSpec(
                status=202,
                description="The run has been stored and starts.",
                schema=schemas.Benchmark,
                headers=("Location", "Retry-After", *RATE_LIMIT_HEADERS),
            ),
            ResponseSpec(
                status=200,
                description="It ended while the client would wait (`Prefer: wait`).",
                schema=schemas.Benchmark,
                headers=("Location", "Preference-Applied", *RATE_LIMIT_HEADERS),
            ),
        ),
        problems=(*BODY_PROBLEMS, "conflict", "quota-exceeded"),
    ),
    ("GET", "/api/benchmark"): Operation(
        tag="Benchmark",
        query=BenchmarksQuery,
        responses=(ResponseSpec(status=200, description="The newest runs.", schema=schemas.Benchmarks),),
        problems=("invalid-parameters",),
    ),
    ("GET", "/api/benchmark/{id}"): Operation(
        tag="Benchmark",
        headers=("Prefer",),
        responses=(
            ResponseSpec(
                status=200,
                description="The run, whatever its state.",
                schema=schemas.Benchmark,
                headers=("Retry-After", "Preference-Applied"),
            ),
        ),
        problems=("not-found",),
    ),
    ("GET", "/api/benchmark/{id}/comparison"): Operation(
        tag="Benchmark",
        query=ComparisonQuery,
        responses=(ResponseSpec(status=200, description="Both runs.", schema=schemas.RunsCompared),),
        problems=("forbidden-origin", "not-found", "conflict", "invalid-parameters"),
    ),
    ("POST", "/api/benchmark/{id}/cancel"): Operation(
        tag="Benchmark",
        responses=(ResponseSpec(status=200, description="The run, which is CANCELLED now.", schema=schemas.Benchmark),),
        problems=("not-found", "conflict"),
    ),
    ("GET", "/api/benchmark/{id}/report.html"): describe_export("The page.", "text/html"),
    ("GET", "/api/benchmark/{id}/replay.html"): describe_export("The page.", "text/html", "Content-Disposition"),
    ("GET", "/api/benchmark/{id}/samples.csv"): describe_export("The rows.", CSV, "Content-Disposition"),
    ("GET", "/api/benchmark/{id}/percentiles.hgrm"): describe_export(
        "The distribution.", "text/plain", "Content-Disposition", query=PercentilesQuery
    ),
}
