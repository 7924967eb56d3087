"""Results that come as Server-Sent Events: one stream for all requests, or one for each."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from reportsim.benchmark.results.samples import Outcome
from reportsim.measure.http_client import FAILURES, Answer, HttpClient
from reportsim.measure.target.documents import parse
from reportsim.measure.target.model import Request, Stream, escape_url
from reportsim.measure.tasks import TaskSet
from reportsim.measure.ways.results import Results, WayError

# What the standard suggests for a stream that ended.
RECONNECT_S: Final = 1.0
CONNECT_S: Final = 10.0
MOST_DATA: Final = 1024 * 1024


@dataclass(slots=True)
class EventReader:
    """Puts events together from lines (WHATWG HTML, 9.2); all that counts is their data."""

    last_id: str = ""
    _data: list[str] = field(default_factory=list)
    _size: int = 0

    def feed(self, line: str) -> str | None:
        """Takes a line without its end; returns the data of the event that an empty line completes."""
        if not line:
            data, self._data, self._size = "\n".join(self._data), [], 0
            return data or None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._size += len(value)
            if self._size <= MOST_DATA:
                self._data.append(value)
        elif name == "id" and "\0" not in value:
            self.last_id = value
        return None


async def events(lines: AsyncIterable[bytes], reader: EventReader) -> AsyncIterator[str]:
    """The data of each event."""
    async for line in lines:
        data = reader.feed(line.decode("utf-8", "replace").rstrip("\r\n"))
        if data is not None:
            yield data


class Streaming:
    """The results that a service tells of in streams."""

    may_result_unanswered = False

    def __init__(self, stream: Stream, results: Results, client: HttpClient) -> None:
        """Begins when it runs, or with each request that is accepted."""
        self._stream = stream
        self._results = results
        self._client = client
        self._tasks = TaskSet()
        self._connected = asyncio.Event()
        for name in ("events", "reconnects", "early", "duplicate", "late", "unknown_id", "unfinished"):
            results.counts[name] = 0

    def callback_url(self, index: int) -> str:
        """There is none."""
        return ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens for as long as the context lasts.

        Raises:
            WayError: The stream that all requests share cannot be opened.
        """
        async with self._tasks.running():
            if self._stream.id is not None and "id" not in self._stream.url.names:
                self._tasks.start(self._listen(self._request({}), None), name="results-stream")
                try:
                    async with asyncio.timeout(CONNECT_S):
                        await self._connected.wait()
                except TimeoutError:
                    raise WayError(f"the stream of results did not open within {CONNECT_S:g} s") from None
            yield

    def _request(self, values: Mapping[str, str]) -> Request:
        headers = {name: template.fill(values) for name, template in self._stream.headers.items()}
        headers |= {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        return Request(method="GET", url=self._stream.url.fill(values, escape_url), headers=headers, body=None)

    def learn(self, index: int, answer: Answer, values: Mapping[str, str]) -> None:
        """Listens for the result of a request that was accepted, unless all of them share a stream."""
        if "id" in self._stream.url.names:
            self._tasks.start(self._listen(self._request(values), index), name=f"stream-{index}")

    async def _listen(self, request: Request, index: int | None) -> None:
        """Reads a stream, and opens it again where it ends: for as long as it may bring anything."""
        reader, load = EventReader(), self._results.load
        while index is None or index in load.missing:
            try:
                resuming = {"Last-Event-ID": reader.last_id} if reader.last_id else {}
                headers = {**request.headers, **resuming}
                again = Request(method=request.method, url=request.url, headers=headers, body=None)
                async with self._client.stream(again) as response:
                    if response.status == 200:
                        self._connected.set()
                        async for data in events(response.content, reader):
                            if self._hear(data, index, time.monotonic()):
                                return
            except FAILURES:
                pass
            self._results.counts["reconnects"] += 1
            await asyncio.sleep(RECONNECT_S)

    def _hear(self, data: str, index: int | None, moment: float) -> bool:
        """Takes an event; True where the stream has no other request's."""
        self._results.counts["events"] += 1
        document = parse(data.encode())
        outcome: Outcome | None = self._stream.status.judge(document)
        if outcome is None:
            self._results.counts["unfinished"] += 1
            return False
        if index is not None:
            self._results.arrive(index, outcome, moment)
            return True
        id = self._stream.id.read({}, document) if self._stream.id is not None else None
        self._results.arrive_for(id, outcome, moment)
        return False
