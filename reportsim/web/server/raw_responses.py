"""Problems as raw responses, for requests that never reach a middleware."""

from http import HTTPStatus

from aiohttp import hdrs, web

from reportsim.core.json import dumps
from reportsim.core.problems import Problem
from reportsim.web.middleware.response_headers import API_POLICY, PAGE_POLICY, PAGE_SECURITY_HEADERS, SECURITY_HEADERS
from reportsim.web.responses import PROBLEM_JSON
from reportsim.web.templating import render_error_page


def raw_response(problem: Problem) -> web.Response:
    """The response for a problem."""
    headers, body = raw_problem(problem)
    return web.Response(status=problem.status, headers=headers, body=body)


def encode_response(problem: Problem, headers: dict[str, str], body: bytes) -> bytes:
    """A response as bytes, after which the connection is closed."""
    headers = headers | {hdrs.CONTENT_LENGTH: str(len(body)), hdrs.CONNECTION: "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n{head}\r\n".encode() + body


def raw_page(app: web.Application, problem: Problem) -> tuple[dict[str, str], bytes]:
    """Headers and body of a problem as an HTML page."""
    headers, _ = raw_problem(problem)
    headers |= {
        **PAGE_SECURITY_HEADERS,
        hdrs.CONTENT_TYPE: "text/html; charset=utf-8",
        "Content-Security-Policy": PAGE_POLICY,
    }
    return headers, render_error_page(app, problem)


def raw_problem(problem: Problem) -> tuple[dict[str, str], bytes]:
    """Headers and body of a problem as JSON."""
    headers = {
        **SECURITY_HEADERS,
        **problem.headers,
        hdrs.CONTENT_TYPE: PROBLEM_JSON,
        hdrs.CACHE_CONTROL: "no-store",
        "Content-Security-Policy": API_POLICY,
    }
    return headers, dumps(problem.as_json())
