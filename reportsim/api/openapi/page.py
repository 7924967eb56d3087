"""GET /openapi.json and /docs: the description of the API."""

import functools
from typing import Final

from aiohttp import web

from reportsim.api.openapi.document import document
from reportsim.core.json import dumps
from reportsim.engine.own_addresses import DEMO_PATH
from reportsim.web.keys import ENGINE
from reportsim.web.middleware.response_headers import PAGE_POLICY
from reportsim.web.templating import html_page, render

# The style sheet of Swagger UI has icons in data: URLs; everything else is as strict as on other pages.
POLICY: Final = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' data:")
DOCUMENT: Final = web.AppKey("DOCUMENT", bytes)
# A placeholder for the demo receiver, whose address is known once the service listens.
RECEIVER: Final = "http://receiver.invalid/"


def setup(app: web.Application) -> None:
    """Builds the document before the service listens, since that blocks the loop for too long."""
    app.on_startup.append(make_document)


async def make_document(app: web.Application) -> None:
    """Builds the document, or reuses that of another application of this process with the same routes."""
    routes = tuple((route.method, route.resource.canonical) for route in app.router.routes() if route.resource)
    if routes not in (built := documents()):
        built[routes] = dumps(document(app, RECEIVER))
    app[DOCUMENT] = built[routes]


@functools.cache
def documents() -> dict[tuple[tuple[str, str], ...], bytes]:
    """The documents of this process, by their routes."""
    return {}


async def show_document(request: web.Request) -> web.Response:
    """The OpenAPI document."""
    receiver = str(request.app[ENGINE].addresses.demo or DEMO_PATH)
    body = request.app[DOCUMENT].replace(RECEIVER.encode(), receiver.encode())
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-cache"})


@html_page
async def show_docs(request: web.Request) -> web.StreamResponse:
    """Swagger UI, in which every operation can be tried out."""
    response = render(request, "docs.html")
    response.headers["Content-Security-Policy"] = POLICY
    return response
