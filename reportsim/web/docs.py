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


def setup(app: web.Application) -> None:
    """Makes room for the document, which is made when it is first asked for."""
    app[DOCUMENT] = {}


async def show_document(request: web.Request) -> web.Response:
    """The OpenAPI document."""
    receiver = str(request.app[ENGINE].demo or DEMO_PATH)
    documents = request.app[DOCUMENT]
    if receiver not in documents:
        documents[receiver] = dumps(document(request.app, receiver))
    return web.Response(
        body=documents[receiver], content_type="application/json", headers={"Cache-Control": "no-cache"}
    )


@page
async def show_docs(request: web.Request) -> web.StreamResponse:
    """The API in the browser, with every request to try out."""
    response = render(request, "docs.html")
    response.headers["Content-Security-Policy"] = POLICY
    return response
