"""A service to be measured, as its target file describes it."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson
from yarl import URL

from reportsim.measure.target.documents import Source, State
from reportsim.measure.target.templates import Template
from reportsim.measure.target.verification import Verification


def escape_url(text: str) -> str:
    """A value inside a URL."""
    return quote(text, safe="")


def escape_json(text: str) -> str:
    """A value inside a JSON string."""
    return orjson.dumps(text).decode()[1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, filled for one index."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTemplate:
    """A request of a side, but for what each request has of its own."""

    method: str
    url: Template
    headers: Mapping[str, Template]
    body: Template | None
    is_json: bool
    """Whether values in the body stand in JSON strings."""

    def fill(self, values: Mapping[str, str]) -> Request:
        """The request with these values."""
        headers = {name: template.fill(values) for name, template in self.headers.items()}
        body = None
        if self.body is not None:
            body = self.body.fill(values, escape_json if self.is_json else str).encode()
        return Request(method=self.method, url=self.url.fill(values, escape_url), headers=headers, body=body)

    def uses(self, name: str) -> bool:
        """Whether a placeholder is part of it."""
        templates = (self.url, *self.headers.values(), *filter(None, [self.body]))
        return any(name in template.names for template in templates)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSide:
    """The side whose answer is the result."""

    request: RequestTemplate
    success: frozenset[int]
    result: State | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """The result is a request to us."""

    host: str
    port: int
    public_url: str | None
    id: Source | None
    """None: each request has a path of its own."""
    status: State | None
    verify: Verification | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """The result is asked for again and again."""

    url: Template
    headers: Mapping[str, Template]
    interval_s: float
    retry_after: bool
    status: State | None
    """None: an answer of 200 is the result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The result is an event of a stream."""

    url: Template
    headers: Mapping[str, Template]
    id: Source | None
    """None where each request has a stream of its own."""
    status: State


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncSide:
    """The side whose answer only says that the request was accepted."""

    request: RequestTemplate
    accepted: frozenset[int]
    id: Source | None
    way: Callback | Poll | Stream

    @property
    def needs_id(self) -> bool:
        """Whether nothing is known of a result without the id in the answer."""
        if isinstance(self.way, Callback):
            return self.way.id is not None and self.id is not None
        names = {name for each in (self.way.url, *self.way.headers.values()) for name in each.names}
        return "id" in names or (isinstance(self.way, Stream) and self.id is not None)

    @property
    def known_by_key(self) -> bool:
        """Whether results come with the key that was sent."""
        return self.id is None and not isinstance(self.way, Poll) and self.way.id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long is waited for what."""

    client_timeout_s: float = 8.0
    """For an answer, from when the request was due."""
    result_deadline_s: float = 120.0
    """For the result of an async request, from when it was due."""
    settle_s: float = 10.0
    """After the last result, for callbacks that come twice."""


LOCAL_NAMES: Final = ("localhost",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The whole file."""

    sync: SyncSide | None
    later: AsyncSide | None
    limits: Limits

    def urls(self) -> Iterator[Template]:
        """What is sent to, but for the locations that the service answers."""
        if self.sync is not None:
            yield self.sync.request.url
        if self.later is not None:
            yield self.later.request.url
            if not isinstance(self.later.way, Callback) and self.later.way.url.raw != "${location}":
                yield self.later.way.url

    @property
    def origins(self) -> frozenset[URL]:
        """All that is sent to: nothing goes anywhere else, whatever the service answers."""
        return frozenset(origin_of(url) for url in self.urls())

    @property
    def is_local(self) -> bool:
        """Whether all of it is on this machine."""
        return all(is_loopback(origin.host or "") for origin in self.origins)


def origin_of(url: Template) -> URL:
    """Where a URL leads, whatever its placeholders stand for."""
    return URL(url.fill(dict.fromkeys(url.names, "0"))).origin()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or its address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL_NAMES
