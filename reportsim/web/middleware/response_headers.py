"""The security headers of every response, and the Content Security Policies."""

from typing import Final

from aiohttp import hdrs, web

from reportsim.web.keys import DRAINING, EXTRA_HEADERS, REQUEST_ID, STARTED_RESPONSE

SECURITY_HEADERS: Final = {
    "Server": "reportsim",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE_SECURITY_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Adds the headers that all responses have; a handler of `on_response_prepare`."""
    request[STARTED_RESPONSE] = response
    headers = response.headers
    headers.update(SECURITY_HEADERS)
    if (request_id := request.get(REQUEST_ID)) is not None:
        headers["X-Request-Id"] = request_id
    # A client may delay following a redirect until its quota is available again.
    if (extra := request.get(EXTRA_HEADERS)) and response.status != 303:
        headers.update(extra)
    if request.app[DRAINING].is_set():
        # aiohttp has already decided about the header at this point.
        response.force_close()
        headers[hdrs.CONNECTION] = "close"
    html = headers.get(hdrs.CONTENT_TYPE, "").startswith("text/html")
    if html:
        headers.update(PAGE_SECURITY_HEADERS)
    headers.setdefault("Content-Security-Policy", PAGE_POLICY if html else API_POLICY)
    headers.setdefault("Cache-Control", "no-cache" if html else "no-store")
