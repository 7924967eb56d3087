"""The trace context of a request, and the ids that its log line carries."""

from aiohttp import web

from reportsim.core import tracing
from reportsim.core.model import Request
from reportsim.web.keys import ENGINE, ROW_ID, TRACE


def new_traceparent(request: web.Request) -> str:
    """The trace that this request belongs to, or starts."""
    given = request.headers.getall("traceparent") if "traceparent" in request.headers else ()
    context = tracing.parse_traceparent(given)
    entropy = request.app[ENGINE].entropy
    return (tracing.child(context, entropy) if context else tracing.new_trace(entropy=entropy)).traceparent


def set_log_ids(request: web.Request, row: Request) -> None:
    """Notes for the log which row a request is about, and the trace that the row belongs to."""
    request[ROW_ID] = str(row.id)
    request[TRACE] = row.traceparent or ""


def caller_trace_id(request: web.Request) -> str | None:
    """The trace that the caller has started."""
    if "traceparent" not in request.headers:
        return None
    context = tracing.parse_traceparent(request.headers.getall("traceparent"))
    return context.trace_id if context else None
