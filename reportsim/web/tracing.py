"""The trace context of a request."""

from collections.abc import Callable

from aiohttp import web

from reportsim.core import tracing


def new_traceparent(request: web.Request, entropy: Callable[[int], bytes]) -> str:
    """The traceparent for the row of a request: a child of the caller's, or a new trace."""
    if "traceparent" in request.headers:
        context = tracing.parse_traceparent(request.headers.getall("traceparent"))
        if context is not None:
            return tracing.child(context.traceparent, entropy)
    return tracing.new_traceparent(entropy)


def caller_trace_id(request: web.Request) -> str | None:
    """The id of the caller's trace."""
    if "traceparent" not in request.headers:
        return None
    context = tracing.parse_traceparent(request.headers.getall("traceparent"))
    return context.trace_id if context else None
