"""Responses that several endpoints share: JSON, problems, accepted and ended requests."""

import functools
from typing import Any, Final

from aiohttp import hdrs, web

from reportsim.core.json import dumps
from reportsim.core.model import Request
from reportsim.core.problems import LONGEST_TEXT, Problem
from reportsim.core.stored_response import server_timing
from reportsim.web.keys import REQUEST_ID
from reportsim.web.tracing import caller_trace_id

PROBLEM_JSON: Final = "application/problem+json"


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON as this service writes it."""
    return web.Response(status=status, body=dumps(value), content_type="application/json", headers=headers)


def progress_headers(row: Request) -> dict[str, str]:
    """When to look again while a request has not ended; afterwards, where its time went."""
    return {"Server-Timing": server_timing(row)} if row.ended else {"Retry-After": "1"}


def accepted_response(row: Request, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    """The 202: where to look, and when."""
    return web.Response(
        status=202,
        body=body,
        headers={
            hdrs.CONTENT_TYPE: "application/json",
            "Location": f"/api/requests/{row.id}",
            "Retry-After": "1",
            **(headers or {}),
        },
    )


def ended_response(row: Request, status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    """The answer to whoever waited for a request's end, with where the time went."""
    return web.Response(
        status=status,
        body=body,
        headers={
            hdrs.CONTENT_TYPE: "application/json" if status < 400 else PROBLEM_JSON,
            "Server-Timing": server_timing(row),
            **(headers or {}),
        },
    )


def problem_response(request: web.Request, problem: Problem) -> web.Response:
    """The answer for a problem."""
    headers = {**problem.headers, hdrs.CONTENT_TYPE: PROBLEM_JSON}
    return web.Response(status=problem.status, body=encode_problem(request, problem), headers=headers)


def encode_problem(request: web.Request, problem: Problem) -> bytes:
    """The problem document with the ids of its request, which have nothing in them that JSON would escape.

    What is said again and again is rendered once: a flood of refusals must cost next to nothing.
    """
    try:
        render = render_problem if len(problem.detail) <= LONGEST_TEXT else render_problem.__wrapped__
        body = render(problem.slug, problem.status, problem.detail, tuple(problem.members.items()))
    except TypeError:  # members that are not hashable
        body = dumps(problem.as_json())
    ids = "" if "request_id" in problem.members else f',"request_id":"{request[REQUEST_ID]}"'
    if trace := caller_trace_id(request):
        ids += f',"trace_id":"{trace}"'
    return body[:-1] + ids.encode() + b"}"


@functools.lru_cache(256)
def render_problem(slug: str, status: int, detail: str, members: tuple[tuple[str, Any], ...]) -> bytes:
    """A problem document without the ids of a request."""
    return dumps(Problem(slug, detail, dict(members), status=status).as_json())
