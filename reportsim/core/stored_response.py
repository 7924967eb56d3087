"""The responses that are stored with a request and returned again when its idempotency key is repeated."""

from datetime import datetime

from reportsim.core.json import dumps
from reportsim.core.model import Request, Status
from reportsim.core.problems import Problem


def server_timing(request: Request) -> str:
    """Where the time of an ended request went, in milliseconds, as the Server-Timing header says it."""
    timings = (request.result_payload or {}).get("timings_ms") or {
        "queue": milliseconds(request.created_at, request.started_at or request.completed_at),
        "service": milliseconds(request.started_at, request.completed_at),
        "total": milliseconds(request.created_at, request.completed_at),
    }
    return ", ".join(f"{name};dur={value:.1f}" for name, value in timings.items())


def milliseconds(start: datetime | None, end: datetime | None) -> float:
    """The time between two moments; none where one of them never came."""
    return (end - start).total_seconds() * 1000 if start and end else 0.0


def report_failed(request: Request) -> Problem:
    """The problem that a blocking client gets for a request that failed."""
    error = request.error or {}
    slug = "cancelled" if error.get("type") == "/problems/cancelled" else "report-failed"
    members = {
        **{name: value for name, value in error.items() if name not in {"type", "title", "status", "detail"}},
        "instance": f"/api/requests/{request.id}",
        "id": str(request.id),
        "request_id": str(request.id),
    }
    return Problem(slug, str(error.get("detail", "The report failed.")), members)


def blocking_answer(request: Request) -> tuple[int, bytes]:
    """Status and body for the client of a sync request that has ended."""
    if request.status is Status.COMPLETED:
        return 200, dumps(request.as_json())
    problem = report_failed(request)
    return problem.status, dumps(problem.as_json())
