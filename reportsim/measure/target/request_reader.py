"""Reads the requests of a target file: method, URL, headers and body."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from yarl import URL

from reportsim.measure.target.model import RequestTemplate, escape_json
from reportsim.measure.target.tables import Table
from reportsim.measure.target.templates import PLACEHOLDER, TargetError, Template, parse_template

DEEPEST: Final = 32
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f\\]")
CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# What HTTP itself decides.
OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})

Environ = Mapping[str, str]


def read_request(side: Table, environ: Environ, allowed: tuple[str, ...]) -> RequestTemplate:
    """A request: method, URL, headers and body."""
    request = side.table("request", ("method", "url", "headers", "body"))
    method = request.text("method", "POST")
    if method not in METHODS:
        raise TargetError(request.key_of("method"), f"must be one of {', '.join(METHODS)}")
    url = read_url(request, environ, allowed)
    headers = read_headers(request, environ, allowed)
    body, is_json = read_body(request, environ, allowed)
    if is_json and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = Template("application/json", ("application/json",), ())
    return RequestTemplate(method=method, url=url, headers=headers, body=body, is_json=is_json)


def read_url(table: Table, environ: Environ, allowed: tuple[str, ...]) -> Template:
    """An http or https URL whose host is the same for every request."""
    key = table.key_of("url")
    url = parse_template(key, table.text("url"), environ, allowed)
    if "location" in url.names:
        if url.raw != "${location}":
            raise TargetError(key, "${location} is a whole URL, nothing can stand beside it")
        return url
    try:
        origins = []
        for value in ("0", "1"):
            filled = url.fill(dict.fromkeys(url.names, value))
            found = URL(filled)
            if UNPRINTABLE.search(filled) or found.scheme not in {"http", "https"} or not found.host or found.user:
                raise ValueError
            origins.append(found.origin())
    except ValueError:
        raise TargetError(key, "must be a URL that begins with http:// or https:// and has a host") from None
    if origins[0] != origins[1]:
        raise TargetError(key, "the host must be the same for every request")
    return url


def read_headers(table: Table, environ: Environ, allowed: tuple[str, ...]) -> dict[str, Template]:
    """Headers by name."""
    if not table.has("headers"):
        return {}
    key = table.key_of("headers")
    values = table.value("headers")
    if not isinstance(values, dict):
        raise TargetError(key, "must be a table")
    found = {}
    for name, value in values.items():
        if not TOKEN.fullmatch(name) or name.lower() in OWN_HEADERS:
            raise TargetError(f"{key}.{name}", "is not a header that can be set")
        if not isinstance(value, str):
            raise TargetError(f"{key}.{name}", "must be a string")
        found[name] = parse_template(f"{key}.{name}", value, environ, allowed)
        if any(CONTROL.search(literal) for literal in found[name].literals):
            raise TargetError(f"{key}.{name}", "has a line break or another control character")
    return found


def read_body(table: Table, environ: Environ, allowed: tuple[str, ...]) -> tuple[Template | None, bool]:
    """The body, and whether it is JSON: a table or an array is, a string is sent as it stands."""
    key = table.key_of("body")
    body = table.value("body", None)
    match body:
        case None:
            return None, False
        case str():
            return parse_template(key, body, environ, allowed), False
        case dict() | list():
            check_json(key, body, 0)
            text = orjson.dumps(body).decode()
            return parse_template(key, text, environ, allowed, escape_json), True
        case _:
            raise TargetError(key, "must be a table, an array or a string")


def check_json(key: str, value: Any, depth: int) -> None:
    """Whether a value can be JSON, with placeholders in nothing but strings that are values."""
    if depth > DEEPEST:
        raise TargetError(key, "is nested too deeply")
    match value:
        case dict():
            for name, each in value.items():
                if PLACEHOLDER.search(name):
                    raise TargetError(key, "a name cannot have a placeholder, only a value can")
                check_json(f"{key}.{name}", each, depth + 1)
        case list():
            for number, each in enumerate(value):
                check_json(f"{key}[{number}]", each, depth + 1)
        case _:
            check_scalar(key, value)


def check_scalar(key: str, value: Any) -> None:
    """Whether JSON has a value."""
    match value:
        case bool() | str():
            pass
        case int() if not -(2**63) <= value < 2**64:
            raise TargetError(key, "is too large a number for JSON")
        case float() if not math.isfinite(value):
            raise TargetError(key, "is no number of JSON")
        case int() | float():
            pass
        case _:
            raise TargetError(key, "is a date or a time, which JSON does not have: write it as a string")
