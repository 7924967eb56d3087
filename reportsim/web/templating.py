"""Templates as answers, and problems as pages for people."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp_jinja2
from aiohttp import hdrs, web
from jinja2 import PackageLoader, StrictUndefined
from jinja2.bccache import Bucket, BytecodeCache

from reportsim.core.problems import Problem
from reportsim.web.keys import REQUEST_ID
from reportsim.web.responses import problem_response
from reportsim.web.server.request_head import JSON_PATHS, prefers_html

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MemoryBytecodeCache(BytecodeCache):
    """Templates that were compiled once by a process, for all applications in it."""

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Gives a template what was compiled, if its source is still the same."""
        if (kept := self._kept.get(bucket.key)) is not None:
            bucket.bytecode_from_string(kept)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keeps what was compiled."""
        self._kept[bucket.key] = bucket.bytecode_to_string()


@functools.cache
def bytecode_cache() -> MemoryBytecodeCache:
    """The process's templates."""
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
    """A template as an answer."""
    return aiohttp_jinja2.render_template(template, request, context, status=status)


def error_page(request: web.Request, problem: Problem) -> web.Response:
    """A problem for people: the same facts as its document."""
    document = {"request_id": request.get(REQUEST_ID), **problem.as_json()}
    response = render(request, "error.html", status=problem.status, problem=document)
    response.headers.update(problem.headers)
    return response


def render_error_page(app: web.Application, problem: Problem) -> bytes:
    """A problem for people whose request could not be read."""
    template = app[aiohttp_jinja2.APP_KEY].get_template("error.html")
    return template.render(problem={"request_id": None, **problem.as_json()}).encode()


def respond_with_problem(request: web.Request, problem: Problem) -> web.Response:
    """A problem as its client likes it: a page for a browser that asks for no endpoint, else the document."""
    if request.path.startswith(JSON_PATHS):
        return problem_response(request, problem)
    likes = prefers_html(request.path, request.headers.get(hdrs.ACCEPT, ""))
    response = error_page(request, problem) if likes else problem_response(request, problem)
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response


def html_page(handler: Handler) -> Handler:
    """Tells the problems of a page by a page, whatever the client accepts."""

    @functools.wraps(handler)
    async def wrapper(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return error_page(request, problem)

    return wrapper
