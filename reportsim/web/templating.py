"""Renders templates, and problems as HTML pages."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp_jinja2
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from jinja2 import PackageLoader, StrictUndefined
from jinja2.bccache import Bucket, BytecodeCache

from reportsim.core.problems import Problem
from reportsim.web.keys import REQUEST_ID
from reportsim.web.responses import problem_response
from reportsim.web.server.request_head import JSON_PATHS, prefers_html


class MemoryBytecodeCache(BytecodeCache):
    """Compiled templates, shared by all applications of a process."""

    def __init__(self) -> None:
        """Starts empty."""
        self._bytecode: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Loads the bytecode of a template, if it has been compiled."""
        if (bytecode := self._bytecode.get(bucket.key)) is not None:
            bucket.bytecode_from_string(bytecode)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Stores the bytecode of a template."""
        self._bytecode[bucket.key] = bucket.bytecode_to_string()


@functools.cache
def bytecode_cache() -> MemoryBytecodeCache:
    """The cache of this process."""
    return MemoryBytecodeCache()


def setup(
    app: web.Application, *, filters: Mapping[str, Callable[..., Any]], variables: Mapping[str, Any], reload: bool
) -> None:
    """Adds the template environment to the application; `reload` reads changed templates again."""
    environment = aiohttp_jinja2.setup(
        app,
        loader=PackageLoader("reportsim.templates", ""),
        undefined=StrictUndefined,
        auto_reload=reload,
        trim_blocks=True,
        lstrip_blocks=True,
        default_helpers=False,
        filters=filters,
        bytecode_cache=bytecode_cache(),
    )
    environment.globals.update(variables)
    # Compiling takes up to 0.1 s, so it is done before the first request.
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)


def render(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Renders a template as a response."""
    return aiohttp_jinja2.render_template(template, request, context, status=status)


def error_page(request: web.Request, problem: Problem) -> web.Response:
    """Renders a problem as an HTML page, with the same members as its JSON document."""
    document = {"request_id": request.get(REQUEST_ID), **problem.as_json()}
    response = render(request, "error.html", status=problem.status, problem=document)
    response.headers.update(problem.headers)
    return response


def render_error_page(app: web.Application, problem: Problem) -> bytes:
    """Renders the page of a problem whose request could not be parsed."""
    template = app[aiohttp_jinja2.APP_KEY].get_template("error.html")
    return template.render(problem={"request_id": None, **problem.as_json()}).encode()


def respond_with_problem(request: web.Request, problem: Problem) -> web.Response:
    """Renders a problem as its client prefers: HTML for browsers outside of the JSON API, else JSON."""
    if request.path.startswith(JSON_PATHS):
        return problem_response(request, problem)
    html = prefers_html(request.path, request.headers.get(hdrs.ACCEPT, ""))
    response = error_page(request, problem) if html else problem_response(request, problem)
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response


def html_page(handler: Handler) -> Handler:
    """Makes a handler render its problems as HTML, whatever the client accepts."""

    @functools.wraps(handler)
    async def wrapper(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return error_page(request, problem)

    return wrapper
