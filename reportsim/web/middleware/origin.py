"""Checks the host that a request is for and the site that it comes from (DNS rebinding, CSRF)."""

import functools
import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from aiohttp import hdrs, web
from yarl import URL

from reportsim.core.problems import Problem, shorten
from reportsim.settings import Settings
from reportsim.web.keys import ENGINE

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/@?#\s]+))(?::[0-9]*)?", re.ASCII)
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
SAME_SITE: Final = frozenset({"same-origin", "none"})
SCHEMES: Final = frozenset({"http", "https"})


def check_origin(settings: Settings) -> Callable[[web.Request], None]:
    """The check that refuses unknown hosts, and unsafe methods from pages of other sites."""
    hosts = allowed_hosts(settings)
    # Without configured names any address is accepted: DNS rebinding needs a name.
    any_address = not settings.allowed_hosts

    def check(request: web.Request) -> None:
        name = host_name(authority(request))
        allowed = name in hosts or (any_address and is_address(name)) or name == demo_receiver_address(request)
        if not allowed:
            host = f"The host {shorten(name)}" if name else "A request without a host name"
            detail = f"{host} is not served here; REPORTSIM_ALLOWED_HOSTS lists those that are."
            raise Problem("misdirected", detail)
        if request.method not in SAFE_METHODS and is_cross_site(request):
            raise Problem("forbidden-origin", "Pages of other sites must not send this request.")

    return check


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The allowed host names: the configured ones, or else the one to listen on and the public one."""
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
    """The host and port that a request is for, from its target or else its Host header (RFC 9112, section 3.2)."""
    target = request.raw_path
    if target.startswith("/") or "://" not in target:
        return request.host
    try:
        return URL(target, encoded=True).raw_authority
    except ValueError:
        return ""


def demo_receiver_address(request: web.Request) -> str | None:
    """The address of the demo receiver, as callbacks use it."""
    demo = request.app[ENGINE].addresses.demo
    return str(demo.address) if demo is not None else None


@functools.lru_cache(256)
def host_name(host: str) -> str:
    """The name in a Host header, without port, brackets and trailing dot; empty if it is not a host."""
    match = HOST.fullmatch(host)
    if match is None:
        return ""
    if match[1] is None:
        return match[2].lower().removesuffix(".")
    return str(ip_address(match[1])) if is_address(match[1]) else ""


def is_cross_site(request: web.Request) -> bool:
    """Whether a browser reports that a page of another site made this request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in SAME_SITE
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and not is_own_origin(request, origin)


def is_own_origin(request: web.Request, url: str) -> bool:
    """Whether a URL has the scheme, host and port that a request is for."""
    try:
        parsed = URL(url)
        # Both are parsed with the same scheme, so that its default port compares equal.
        own = URL(f"{parsed.scheme}://{authority(request)}")
        return parsed.scheme in SCHEMES and (parsed.host, parsed.port) == (own.host, own.port)
    except ValueError:
        return False
