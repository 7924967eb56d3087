"""The API, described: for programs at /openapi.json, for people at /docs."""

from typing import Final

from aiohttp import web

from reportsim.core.encoding import dumps
from reportsim.engine.engine import DEMO_PATH
from reportsim.web.keys import ENGINE
from reportsim.web.middleware import PAGE_POLICY
from reportsim.web.openapi import document
from reportsim.web.rendering import page, render

# Swagger UI's own style sheet has its icons in data: URLs; everything else is as strict as on other pages.
POLICY: Final = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' data:")
DOCUMENT: Final = web.AppKey("DOCUMENT", dict[str, bytes])
# Stands in the document for the demo receiver's address, which each application has for itself.
RECEIVER: Final = "http://demo-receiver.invalid/"
MADE: Final[dict[tuple[str, ...], bytes]] = {}


def setup(app: web.Application) -> None:
    """Has the document made before anybody can ask for it: that holds the loop for longer than anybody shall wait."""
    app[DOCUMENT] = {}
    app.on_startup.append(make_document)


async def make_document(app: web.Application) -> None:
    """Makes the document of this process's routes, once for all applications that have the same."""
    routes = tuple(sorted(f"{route.method} {route.resource}" for route in app.router.routes()))
    if routes not in MADE:
        MADE[routes] = dumps(document(app, RECEIVER))
    app[DOCUMENT][RECEIVER] = MADE[routes]


async def show_document(request: web.Request) -> web.Response:
    """The OpenAPI document."""
    receiver = str(request.app[ENGINE].demo or DEMO_PATH)
    documents = request.app[DOCUMENT]
    if receiver not in documents:
        documents[receiver] = documents[RECEIVER].replace(RECEIVER.encode(), receiver.encode())
    return web.Response(
        body=documents[receiver], content_type="application/json", headers={"Cache-Control": "no-cache"}
    )


@page
async def show_docs(request: web.Request) -> web.StreamResponse:
    """The API in the browser, with every request to try out."""
    response = render(request, "docs.html")
    response.headers["Content-Security-Policy"] = POLICY
    return response
