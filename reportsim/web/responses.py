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
    """A JSON response, encoded by orjson."""
    return web.Response(status=status, body=dumps(value), content_type="application/json", headers=headers)


def progress_headers(row: Request) -> dict[str, str]:
    """Retry-After while a request has not ended; afterwards, Server-Timing."""
    return {"Server-Timing": server_timing(row)} if row.ended else {"Retry-After": "1"}


def accepted_response(row: Request, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    """The 202 of an accepted request."""
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
    """The response of a request that has ended, with Server-Timing."""
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
    """The response for a problem, as JSON."""
    headers = {**problem.headers, hdrs.CONTENT_TYPE: PROBLEM_JSON}
    return web.Response(status=problem.status, body=encode_problem(request, problem), headers=headers)


def encode_problem(request: web.Request, problem: Problem) -> bytes:
    """The problem document with the ids of its request, which need no escaping in JSON.

    The part without the ids is cached, so that a flood of refusals stays cheap.
    """
    try:
        render = render_problem if len(problem.detail) <= LONGEST_TEXT else render_problem.__wrapped__
        body = render(problem.slug, problem.status, problem.detail, tuple(problem.members.items()))
    except TypeError:  # unhashable members
        body = dumps(problem.as_json())
    ids = "" if "request_id" in problem.members else f',"request_id":"{request[REQUEST_ID]}"'
    if trace := caller_trace_id(request):
        ids += f',"trace_id":"{trace}"'
    return body[:-1] + ids.encode() + b"}"


@functools.lru_cache(256)
def render_problem(slug: str, status: int, detail: str, members: tuple[tuple[str, Any], ...]) -> bytes:
    """The problem document without the ids of its request."""
    return dumps(Problem(slug, detail, dict(members), status=status).as_json())
