"""Renders templates, and problems as pages."""

import functools
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import aiohttp_jinja2
from aiohttp import hdrs, web
from jinja2 import PackageLoader, StrictUndefined
from jinja2.bccache import Bucket, BytecodeCache

from reportsim import __version__
from reportsim.core.problems import Problem
from reportsim.pages.assets import ASSETS, Assets, send_asset, send_icon
from reportsim.pages.filters import COUNTS, FILTERS
from reportsim.web.keys import REQUEST_ID, SETTINGS
from reportsim.web.middleware import problem_response
from reportsim.web.request_head import ENDPOINTS, likes_pages

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TemplateCache(BytecodeCache):
    """The compiled templates, shared by all applications in a process."""

    def __init__(self) -> None:
        """Creates an empty cache."""
        self._bytecode: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Loads the bytecode of a template whose source has not changed."""
        if (bytecode := self._bytecode.get(bucket.key)) is not None:
            bucket.bytecode_from_string(bytecode)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Stores the bytecode of a template."""
        self._bytecode[bucket.key] = bucket.bytecode_to_string()


@functools.cache
def template_cache() -> TemplateCache:
    """The cache of this process."""
    return TemplateCache()


def setup(app: web.Application) -> None:
    """Adds templates and static files to the application."""
    debug = app[SETTINGS].debug
    app[ASSETS] = assets = Assets(resources.files("reportsim") / "static", reload=debug)
    environment = aiohttp_jinja2.setup(
        app,
        loader=PackageLoader("reportsim.templates", ""),
        undefined=StrictUndefined,
        auto_reload=debug,
        trim_blocks=True,
        lstrip_blocks=True,
        default_helpers=False,
        filters=FILTERS,
        bytecode_cache=template_cache(),
    )
    environment.globals.update(
        static=assets.url, vendored_file=assets.vendored_file, version=__version__, COUNTS=COUNTS
    )
    # Compile all at start: it takes up to 100 ms, which would delay the first requests.
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)
    app.router.add_get("/static/{digest}/{name:.+}", send_asset)
    app.router.add_get("/favicon.ico", send_icon)


def render(request: web.Request, template: str, *, status: int = 200, **context: Any) -> web.Response:
    """Renders a template as a response."""
    return aiohttp_jinja2.render_template(template, request, context, status=status)


def error_page(request: web.Request, problem: Problem) -> web.Response:
    """A problem as a page, with the same facts as the JSON document."""
    document = {"request_id": request.get(REQUEST_ID), **problem.as_json()}
    response = render(request, "error.html", status=problem.status, problem=document)
    response.headers.update(problem.headers)
    return response


def bare_page(app: web.Application, problem: Problem) -> bytes:
    """A problem as a page for a request that could not be parsed."""
    template = app[aiohttp_jinja2.APP_KEY].get_template("error.html")
    return template.render(problem={"request_id": None, **problem.as_json()}).encode()


def answer_problem(request: web.Request, problem: Problem) -> web.Response:
    """A problem as a page if a browser asked for a page, else as a JSON document."""
    if request.path.startswith(ENDPOINTS):
        return problem_response(request, problem)
    wants_page = likes_pages(request.path, request.headers.get(hdrs.ACCEPT, ""))
    response = error_page(request, problem) if wants_page else problem_response(request, problem)
    response.headers[hdrs.VARY] = hdrs.ACCEPT
    return response


def page(handler: Handler) -> Handler:
    """Answers the problems of a page handler with a page, whatever the client accepts."""

    @functools.wraps(handler)
    async def wrapper(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return error_page(request, problem)

    return wrapper
