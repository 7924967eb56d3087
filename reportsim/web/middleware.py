"""What every request passes through, outermost first: id and headers, problems, hosts and sites."""

import errno
import functools
import itertools
import logging
import re
import secrets
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from reportsim.core import tracing
from reportsim.core.json import dumps
from reportsim.core.problems import LONGEST_TEXT, Problem, plain, shorten, unavailable
from reportsim.core.signing import is_signed_by
from reportsim.engine.engine import DEMO_PATH
from reportsim.settings import Settings
from reportsim.store.batcher import Overloaded
from reportsim.store.pool import OUTAGES
from reportsim.web.body import read_body
from reportsim.web.keys import BEGUN, DRAINING, ENGINE, EXTRA_HEADERS, READY, REQUEST_ID, ROW_ID, TRACE, VISIT

log = logging.getLogger("reportsim.http")

SANE_ID: Final = re.compile(r"[A-Za-z0-9._~+/=@:-]{1,128}", re.ASCII)
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/@?#\s]+))(?::[0-9]*)?", re.ASCII)
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITE: Final = frozenset({"same-origin", "none"})
SCHEMES: Final = frozenset({"http", "https"})
# What the operating system refuses for a while.
SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT})
# A callback may be larger than what the API takes.
MOST_CALLBACK: Final = 1024 * 1024
PROBLEM: Final = "application/problem+json"

# SO_LINGER, on, for no time at all: closing resets.
LINGER_NOT: Final = struct.pack("ii", 1, 0)

SLUG_OF_STATUS: Final = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
SECURITY: Final = {
    "Server": "reportsim",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE_SECURITY: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def refuse_new_work() -> Middleware:
    """Until the service is ready and while it stops, new work is refused; callbacks of its own are let in."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in SAFE and not request.path.startswith(DEMO_PATH):
            if request.app[DRAINING].is_set():
                raise unavailable("The service is stopping.")
            if not request.app[READY].is_set():
                raise unavailable("The service is waiting for its database.")
        return await handler(request)

    return middleware


def refuse_own_callbacks() -> Middleware:
    """Refuses callbacks of this service that a relay leads back to it, except at the demo receiver.

    Its own address is never called, but somebody else's may pass on what it gets: whoever names such a URL would have
    the service cancel and redeliver by its own signed requests.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        signed = "webhook-signature" in request.headers and request.method not in SAFE
        if signed and not request.path.startswith(DEMO_PATH):
            body = await read_body(request, MOST_CALLBACK)
            if is_signed_by(request.app[ENGINE].dispatcher.secrets, request.headers, body):
                raise Problem("own-callback", "This is a callback of this service; only /webhook-test/ takes those.")
        return await handler(request)

    return middleware


async def finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Adds, just before any answer starts, the headers that all of them have; a signal handler."""
    request[BEGUN] = response
    headers = response.headers
    headers.update(SECURITY)
    if (request_id := request.get(REQUEST_ID)) is not None:
        headers["X-Request-Id"] = request_id
    # A client may hold back a redirect until its quota is there again.
    if (extra := request.get(EXTRA_HEADERS)) and response.status != 303:
        headers.update(extra)
    if request.app[DRAINING].is_set():
        # aiohttp has already decided whether the header says so.
        response.force_close()
        headers[hdrs.CONNECTION] = "close"
    html = headers.get(hdrs.CONTENT_TYPE, "").startswith("text/html")
    if html:
        headers.update(PAGE_SECURITY)
    headers.setdefault("Content-Security-Policy", PAGE_POLICY if html else API_POLICY)
    headers.setdefault("Cache-Control", "no-cache" if html else "no-store")


def identify() -> Middleware:
    """Gives every request an id, the caller's own if it is sane, and logs its end."""
    boot = secrets.token_hex(6)
    numbers = itertools.count(1)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id")
        request[REQUEST_ID] = given if given and SANE_ID.fullmatch(given) else f"{boot}-{next(numbers):06x}"
        request[EXTRA_HEADERS] = {}
        started = time.monotonic()
        status = 499
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            # Refusals are counted by the metrics, a benchmark's requests by itself: no flood must fill the log.
            level = logging.DEBUG if status == 429 or VISIT in request else logging.INFO
            if log.isEnabledFor(level) and not request.path.startswith(("/healthz", "/readyz", "/static")):
                took = (time.monotonic() - started) * 1000
                ids = {"request_id": request[REQUEST_ID], "row": request.get(ROW_ID), "trace": request.get(TRACE)}
                path = request.rel_url.raw_path
                log.log(level, "%s %s %d %.1f ms", request.method, path, status, took, extra=ids)

    return middleware


ProblemAnswer = Callable[[web.Request, Problem], web.Response]


def problem_response(request: web.Request, problem: Problem) -> web.Response:
    """The answer for a problem."""
    headers = {**problem.headers, hdrs.CONTENT_TYPE: PROBLEM}
    return web.Response(status=problem.status, body=document(request, problem), headers=headers)


def document(request: web.Request, problem: Problem) -> bytes:
    """The problem document with the ids of its request, which have nothing in them that JSON would escape.

    What is said again and again is rendered once: a flood of refusals must cost next to nothing.
    """
    try:
        render = rendered if len(problem.detail) <= LONGEST_TEXT else rendered.__wrapped__
        body = render(problem.slug, problem.status, problem.detail, tuple(problem.members.items()))
    except TypeError:  # members that are not hashable
        body = dumps(problem.as_json())
    ids = "" if "request_id" in problem.members else f',"request_id":"{request[REQUEST_ID]}"'
    if trace := trace_id(request):
        ids += f',"trace_id":"{trace}"'
    return body[:-1] + ids.encode() + b"}"


@functools.lru_cache(256)
def rendered(slug: str, status: int, detail: str, members: tuple[tuple[str, Any], ...]) -> bytes:
    """A problem document without the ids of a request."""
    return dumps(Problem(slug, detail, dict(members), status=status).as_json())


def trace_id(request: web.Request) -> str | None:
    """The trace that the caller has started."""
    if "traceparent" not in request.headers:
        return None
    context = tracing.parse_traceparent(request.headers.getall("traceparent"))
    return context.trace_id if context else None


def answer_problems(answer: ProblemAnswer) -> Middleware:
    """Turns every error into a problem, which `answer` tells; what is unexpected goes to the log, not to the client."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            if (response := request.get(BEGUN)) is not None:
                # A second answer would stand within the first.
                return break_off(request, response, error)
            return answer_error(request, error, answer)

    return middleware


def answer_error(request: web.Request, error: Exception, answer: ProblemAnswer) -> web.StreamResponse:
    """The problem that an error is to a client."""
    match error:
        case Problem():
            return answer(request, error)
        case web.HTTPException():
            if error.status < 400:
                raise error
            return http_error(request, error, answer)
        case _ if isinstance(error, (*OUTAGES, Overloaded)):
            detail = "The database cannot be reached at the moment."
        case OSError() if error.errno in SHORTAGES:
            detail = "The service is short of files, memory or disk at the moment."
        case _:
            log.error("%s %s failed", request.method, request.path, exc_info=error)
            return answer(request, Problem("internal-error", "The service failed unexpectedly."))
    log.warning("%s %s could not be served: %r", request.method, request.path, error)
    return answer(request, unavailable(detail))


def break_off(request: web.Request, response: web.StreamResponse, error: Exception) -> web.StreamResponse:
    """Ends the connection of an answer that cannot be completed, by a reset: no client shall take it for whole."""
    level = logging.DEBUG if isinstance(error, ConnectionError) else logging.ERROR
    log.log(level, "%s %s failed while it was answered", request.method, request.path, exc_info=error)
    if (transport := request.transport) is not None:
        if (stream := transport.get_extra_info("socket")) is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        transport.abort()
    return response


def http_error(request: web.Request, error: web.HTTPException, answer: ProblemAnswer) -> web.Response:
    """Aiohttp's own errors as problems, with the headers that give them meaning."""
    kept = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
    slug = SLUG_OF_STATUS.get(error.status)
    if slug:
        detail = (
            f"{request.method} is not allowed here." if error.status == 405 else f"There is nothing at {request.path}."
        )
        return answer(request, Problem(slug, detail, headers=kept))
    document = {**plain(error.status), "request_id": request.get(REQUEST_ID)}
    return web.Response(status=error.status, body=dumps(document), content_type=PROBLEM, headers=kept)


def check_origin(settings: Settings) -> Middleware:
    """Refuses hosts that are not served, and changes that pages of other sites ask for."""
    hosts = served_hosts(settings)
    # Where no names are set, no name of another site can be pointed at an address (DNS rebinding).
    any_address = not settings.allowed_hosts

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = host_name(authority(request))
        served = name in hosts or (any_address and is_address(name)) or name == own_address(request)
        if not served:
            detail = f"The host {shorten(name)} is not served here; REPORTSIM_ALLOWED_HOSTS lists those that are."
            raise Problem("misdirected", detail)
        if request.method not in SAFE and is_cross_site(request):
            raise Problem("forbidden-origin", "A page of another site may not do this.")
        return await handler(request)

    return middleware


def served_hosts(settings: Settings) -> frozenset[str]:
    """The names that are served: those that are set, or else the one to listen on and the public one."""
    public = URL(settings.public_url).authority if settings.public_url else ""
    names = settings.allowed_hosts or (settings.host, public)
    return LOOPBACK_NAMES | {host_name(name) for name in names if host_name(name)}


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def authority(request: web.Request) -> str:
    """The host and the port that a request is for: those of its target, or else of its Host header (RFC 9112, 3.2)."""
    target = request.raw_path
    if target.startswith("/") or "://" not in target:
        return request.host
    try:
        return URL(target, encoded=True).raw_authority
    except ValueError:
        return ""


def own_address(request: web.Request) -> str | None:
    """The address that the service calls its own demo receiver by."""
    demo = request.app[ENGINE].demo
    return str(demo.address) if demo is not None else None


def host_name(host: str) -> str:
    """The name in a Host header, without port, brackets and the dot of the root; empty for what is no host."""
    match = HOST.fullmatch(host)
    if match is None:
        return ""
    if match[1] is None:
        return match[2].lower().removesuffix(".")
    return str(ip_address(match[1])) if is_address(match[1]) else ""


def is_cross_site(request: web.Request) -> bool:
    """Whether a browser says that a page of another site made this request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in OWN_SITE
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and not is_own_origin(request, origin)


def is_own_origin(request: web.Request, url: str) -> bool:
    """Whether a URL has the scheme, the host and the port that a request is for."""
    try:
        given = URL(url)
        # The host is compared as a URL of that scheme, whose port goes without saying.
        asked = URL(f"{given.scheme}://{authority(request)}")
        return given.scheme in SCHEMES and (given.host, given.port) == (asked.host, asked.port)
    except ValueError:
        return False
