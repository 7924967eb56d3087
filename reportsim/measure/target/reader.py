"""Reads a target file: TOML, checked so that each mistake is one line that names its key."""

import re
import tomllib
from typing import Any, Final

from yarl import URL

from reportsim.measure.target.documents import Source, State, as_text
from reportsim.measure.target.model import (
    AsyncSide,
    Callback,
    Limits,
    Poll,
    RequestTemplate,
    Stream,
    SyncSide,
    Target,
)
from reportsim.measure.target.request_reader import TOKEN, UNPRINTABLE, Environ, read_headers, read_request, read_url
from reportsim.measure.target.tables import Table
from reportsim.measure.target.templates import TargetError, parse_template
from reportsim.measure.target.verification import Scheme, Verification

LARGEST_FILE: Final = 256 * 1024
EACH: Final = ("index", "key")
WITH_CALLBACK: Final = (*EACH, "callback_url")
AFTERWARDS: Final = (*EACH, "id", "location")
ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s\[\]]+):([0-9]{1,5})")
WAYS: Final = ("callback", "poll", "sse")


def read_target(text: str, environ: Environ) -> Target:
    """The service that a file describes.

    Raises:
        TargetError: It is not what was expected.
    """
    try:
        values = tomllib.loads(text)
    except ValueError as error:
        raise TargetError("the file", f"is not TOML: {error}") from None
    except RecursionError:
        raise TargetError("the file", "is nested too deeply") from None
    top = Table("", values, ("sync", "async", "limits"))
    if not (top.has("sync") or top.has("async")):
        raise TargetError("the file", "has neither [sync] nor [async]")
    return Target(
        sync=read_sync(top, environ) if top.has("sync") else None,
        later=read_async(top, environ) if top.has("async") else None,
        limits=read_limits(top),
    )


def read_limits(top: Table) -> Limits:
    """How long is waited for what."""
    if not top.has("limits"):
        return Limits()
    limits = top.table("limits", ("client_timeout_s", "result_deadline_s", "settle_s"))
    return Limits(
        client_timeout_s=limits.seconds("client_timeout_s", 0.001, 600, Limits().client_timeout_s),
        result_deadline_s=limits.seconds("result_deadline_s", 0.001, 3_600, Limits().result_deadline_s),
        settle_s=limits.seconds("settle_s", 0, 600, Limits().settle_s),
    )


def read_sync(top: Table, environ: Environ) -> SyncSide:
    """The side whose answer is the result."""
    side = top.table("sync", ("request", "success", "result"))
    return SyncSide(
        request=read_request(side, environ, EACH),
        success=side.statuses("success", [200]),
        result=read_state(side, "result"),
    )


def read_async(top: Table, environ: Environ) -> AsyncSide:
    """The side whose answer only says that the request was accepted."""
    side = top.table("async", ("request", "accepted", *WAYS))
    ways = [name for name in WAYS if side.has(name)]
    if len(ways) != 1:
        raise TargetError("async", f"needs exactly one of {', '.join(f'[async.{name}]' for name in WAYS)}")
    request = read_request(side, environ, WITH_CALLBACK if ways == ["callback"] else EACH)
    accepted, id = frozenset({202}), None
    if side.has("accepted"):
        answer = side.table("accepted", ("status", "id"))
        accepted, id = answer.statuses("status", [202]), read_source(answer, "id") if answer.has("id") else None
    match ways[0]:
        case "callback":
            way: Callback | Poll | Stream = read_callback(side, environ)
        case "poll":
            way = read_poll(side, environ)
        case _:
            way = read_stream(side, environ)
    check_ids(request, id, way)
    return AsyncSide(request=request, accepted=accepted, id=id, way=way)


def check_ids(request: RequestTemplate, id: Source | None, way: Callback | Poll | Stream) -> None:
    """Whether results can be told apart."""
    if isinstance(way, Callback) and way.id is None:
        if not request.uses("callback_url"):
            raise TargetError("async.request", "nowhere has ${callback_url}, which [async.callback] needs by its id")
    elif not isinstance(way, Callback) and any("id" in each.names for each in (way.url, *way.headers.values())):
        if id is None:
            raise TargetError("async.accepted.id", "is missing, and the request for the result has ${id}")
    elif not isinstance(way, Poll) and id is None and not request.uses("key"):
        raise TargetError("async.accepted.id", "is missing, and the request nowhere has ${key} to know its result by")


def read_source(table: Table, name: str) -> Source:
    """Where an id is."""
    source = table.table(name, ("pointer", "header"))
    if source.has("pointer") == source.has("header"):
        raise TargetError(source.key, "needs a pointer or a header, and not both")
    if source.has("pointer"):
        return Source(pointer=read_pointer(source))
    header = source.text("header")
    if not TOKEN.fullmatch(header):
        raise TargetError(source.key_of("header"), "is not the name of a header")
    return Source(header=header)


def read_pointer(table: Table) -> str:
    """A JSON pointer."""
    pointer = table.text("pointer")
    if (pointer and not pointer.startswith("/")) or re.search(r"~(?![01])", pointer):
        raise TargetError(table.key_of("pointer"), "must be a JSON pointer, such as /job/id")
    return pointer


def read_state(table: Table, name: str) -> State | None:
    """How a body says that the work is done; None where the file does not say it."""
    if not table.has(name):
        return None
    state = table.table(name, ("pointer", "done", "failed"))
    done, failed = read_words(state, "done"), read_words(state, "failed", [])
    if both := done & failed:
        raise TargetError(state.key_of("failed"), f"{min(both)} is also in done")
    return State(read_pointer(state), done, failed)


def read_words(state: Table, name: str, *default: Any) -> frozenset[str]:
    """Values of a state."""
    words = [as_text(each) for each in state.items(name, *default)]
    known = frozenset(word for word in words if word is not None)
    if None in words:
        raise TargetError(state.key_of(name), "must be an array of strings")
    return known


def read_callback(side: Table, environ: Environ) -> Callback:
    """Where callbacks come in."""
    callback = side.table("callback", ("listen", "public_url", "id", "status", "verify"))
    matched = ADDRESS.fullmatch(callback.text("listen"))
    if matched is None or int(matched[2]) > 65_535:
        raise TargetError(callback.key_of("listen"), "must be an address and a port, such as 127.0.0.1:9009")
    host = matched[1].strip("[]")
    public = read_public_url(callback, environ, host)
    id = callback.value("id", "url")
    if isinstance(id, str) and id != "url":
        raise TargetError(callback.key_of("id"), 'must be "url", or a table with a pointer or a header')
    return Callback(
        host=host,
        port=int(matched[2]),
        public_url=public,
        id=None if id == "url" else read_source(callback, "id"),
        status=read_state(callback, "status"),
        verify=read_verification(callback, environ) if callback.has("verify") else None,
    )


def read_public_url(callback: Table, environ: Environ, host: str) -> str | None:
    """Where the service finds us; None where that is where we listen."""
    key = callback.key_of("public_url")
    if not callback.has("public_url"):
        if host in {"0.0.0.0", "::"}:
            raise TargetError(key, "is missing, and nobody can call every address")
        return None
    url = parse_template(key, callback.text("public_url"), environ, ()).fill({})
    try:
        found = URL(url)
    except ValueError:
        found = URL()
    if UNPRINTABLE.search(url) or found.scheme not in {"http", "https"} or not found.host or found.query_string:
        raise TargetError(key, "must be a URL that begins with http:// or https:// and has no query")
    return url.rstrip("/")


def read_verification(callback: Table, environ: Environ) -> Verification:
    """How callbacks are signed."""
    verify = callback.table("verify", ("scheme", "secret"))
    scheme = verify.text("scheme")
    if scheme not in list(Scheme):
        raise TargetError(verify.key_of("scheme"), f"must be one of {', '.join(Scheme)}")
    key = verify.key_of("secret")
    secret = parse_template(key, verify.text("secret"), environ, ()).fill({})
    try:
        return Verification.from_text(Scheme(scheme), secret)
    except ValueError as error:
        raise TargetError(key, str(error)) from None


def read_poll(side: Table, environ: Environ) -> Poll:
    """How the result is asked for."""
    poll = side.table("poll", ("url", "headers", "interval_s", "retry_after", "status"))
    return Poll(
        url=read_url(poll, environ, AFTERWARDS),
        headers=read_headers(poll, environ, AFTERWARDS),
        interval_s=poll.seconds("interval_s", 0.01, 600),
        retry_after=poll.flag("retry_after", default=True),
        status=read_state(poll, "status"),
    )


def read_stream(side: Table, environ: Environ) -> Stream:
    """Where events tell of results."""
    stream = side.table("sse", ("url", "headers", "id", "status"))
    url = read_url(stream, environ, ("id",))
    status = read_state(stream, "status")
    if status is None:
        raise TargetError(stream.key_of("status"), "is missing")
    id = read_source(stream, "id") if stream.has("id") else None
    if id is None and "id" not in url.names:
        raise TargetError(stream.key_of("id"), "is missing, and all requests share one stream")
    return Stream(url=url, headers=read_headers(stream, environ, ("id",)), id=id, status=status)
