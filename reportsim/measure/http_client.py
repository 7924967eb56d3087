"""HTTP as the measurement speaks it: aiohttp without any limit on connections, proxies, cookies or redirects."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict

from reportsim.measure.target.model import Request

# Servers close connections that are idle for longer, some after two seconds; one that is about to close is not used.
IDLE_S: Final = 1.5
MOST_BODY: Final = 1024 * 1024
LONGEST_HEADER: Final = 64 * 1024
LONGEST_EVENT: Final = 1024 * 1024
# What goes wrong on the wire; aiohttp raises ValueError and AssertionError for some answers, too.
FAILURES: Final = (aiohttp.ClientError, OSError, ValueError, AssertionError)


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=CIMultiDict)
    body: bytes = b""
    """As much of it as was wanted."""


class HttpClient:
    """Sends requests as soon as it is asked to, each on an idle connection or on a new one."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Uses a session that is open."""
        self._session = session

    async def exchange(self, request: Request, *, keep: bool, on_send: Callable[[], None] | None = None) -> Answer:
        """The answer to a request, when its body has been read; `keep` says whether the body is wanted.

        Raises:
            One of FAILURES.
        """
        async with self._session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            trace_request_ctx=on_send,
        ) as response:
            kept = bytearray()
            async for chunk in response.content.iter_any():
                if keep:
                    kept += chunk[: MOST_BODY - len(kept)]
            return Answer(response.status, response.headers, bytes(kept))

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body has no end."""
        async with self._session.get(request.url, headers=request.headers, allow_redirects=False) as response:
            yield response


@contextlib.asynccontextmanager
async def open_client() -> AsyncIterator[HttpClient]:
    """A client for as long as the context lasts."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, ttl_dns_cache=None)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
        read_bufsize=LONGEST_EVENT // 2,
        trace_configs=[trace_sending()],
    ) as session:
        yield HttpClient(session)


def trace_sending() -> aiohttp.TraceConfig:
    """Calls back when a request goes on its way: on a connection that is idle, or by opening one."""

    async def sends(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: Any) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx()

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(sends)
    trace.on_connection_create_start.append(sends)
    return trace
