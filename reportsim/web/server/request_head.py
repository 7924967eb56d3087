"""The maximum size of request heads, and the problems of heads that exceed it."""

import re
from itertools import chain
from typing import Final

from aiohttp import web

from reportsim.core.problems import Problem

# The request line, and each header except Cookie: browsers send the cookies of a host to all of its ports.
MAX_LINE: Final = 8_190
MAX_COOKIES: Final = 64 * 1024
# The whole head; nothing is read beyond it.
MAX_HEAD: Final = 128 * 1024
MAX_HEADERS: Final = 100
JSON_PATHS: Final = ("/api/", "/webhook-test/")
TARGET: Final = re.compile(rb"[A-Za-z]+ ([^\s?]*)")
HTML: Final = re.compile(rb"\r\naccept:[^\r\n]*text/html", re.IGNORECASE)


def refuse_long_headers(request: web.Request) -> None:
    """Refuses headers that are too long, and names the first.

    Raises:
        Problem: 431.
    """
    size = sum(map(len, chain.from_iterable(request.raw_headers)))
    if size <= MAX_LINE:
        return
    for name, value in request.raw_headers:
        if len(value) > max_value_length(name) or len(name) > MAX_LINE:
            raise header_too_large(name)
    if size > MAX_HEAD:
        raise headers_too_large()


def max_value_length(name: bytes) -> int:
    """The maximum length of a header's value."""
    return MAX_COOKIES if name.lower() == b"cookie" else MAX_LINE


def header_too_large(name: bytes) -> Problem:
    """The 431 that names the header."""
    if len(name) > MAX_LINE:
        return Problem("header-too-large", "The name of a header is too long.")
    text = name[:100].decode("ascii", "replace")
    if name.lower() == b"cookie":
        advice = "Clear the cookies of this host in the browser: the cookies of all its ports are sent to each of them."
        return Problem("header-too-large", f"Cookies may have {MAX_COOKIES:,} bytes. {advice}", {"header": "Cookie"})
    return Problem("header-too-large", f"The header {text} may have {MAX_LINE:,} bytes.", {"header": text})


def head_problem(head: bytes) -> Problem:
    """The problem of a head that was too long to be read to its end; names its longest line."""
    first, *lines = head.split(b"\r\n")
    if len(first) > MAX_LINE:
        return Problem("uri-too-long", f"A request line may have {MAX_LINE:,} bytes.")
    if len(lines) > MAX_HEADERS:
        return Problem("header-too-large", f"A request may have {MAX_HEADERS} headers.")
    line = max(lines, key=len, default=b"")
    return header_too_large(line.partition(b":")[0]) if len(line) > MAX_LINE else headers_too_large()


def headers_too_large() -> Problem:
    """The 431 for headers that are too long only together."""
    return Problem("header-too-large", f"All headers of a request may have {MAX_HEAD // 1024} KiB.")


def prefers_html(path: str, accept: str) -> bool:
    """Whether a client gets problems as HTML pages: it accepts HTML, and the path is not one of the JSON API."""
    return not path.startswith(JSON_PATHS) and "text/html" in accept


def head_prefers_html(head: bytes) -> bool:
    """The same for a head that was not read to its end."""
    target = TARGET.match(head)
    path = target[1].decode("ascii", "replace") if target else ""
    # A request line that does not end is taken for one typed by a person.
    return prefers_html(path, "text/html" if HTML.search(head) or b"\n" not in head else "")
