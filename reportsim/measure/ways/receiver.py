"""Takes the callbacks of a measurement; each is answered with 204 at once, whatever it is."""

import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Final

from aiohttp import web

from reportsim.benchmark.results.samples import Outcome
from reportsim.measure.http_client import LONGEST_HEADER, MOST_BODY, Answer
from reportsim.measure.target.documents import parse
from reportsim.measure.target.model import Callback
from reportsim.measure.ways.results import Results, WayError

BACKLOG: Final = 4_096
CLOSE_S: Final = 1.0


class Receiver:
    """The results that a service brings itself."""

    may_result_unanswered = True
    """A service that has accepted a request may call although its answer was lost."""

    def __init__(self, callback: Callback, results: Results) -> None:
        """Listens once it runs."""
        self._callback = callback
        self._results = results
        self._base = ""
        self._token = secrets.token_urlsafe(9)
        for name in ("received", "early", "duplicate", "late", "unverifiable", "unknown_id", "unfinished"):
            results.counts[name] = 0

    def callback_url(self, index: int) -> str:
        """Where the service is to call: a path for each request, unless it says by an id which one it is."""
        return self._base if self._callback.id is not None else f"{self._base}/{self._token}/{index}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Takes callbacks for as long as the context lasts.

        Raises:
            WayError: It cannot listen there.
        """
        host, port = self._callback.host, self._callback.port
        app = web.Application(client_max_size=MOST_BODY)
        app.router.add_route("*", "/{path:.*}", self._take)
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=CLOSE_S,
            max_line_size=LONGEST_HEADER,
            max_field_size=LONGEST_HEADER,
        )
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else error
                raise WayError(f"cannot listen for callbacks on {host}:{port}: {reason}") from None
            host, port = runner.addresses[0][:2]
            self._base = self._callback.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
            yield
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        if request.method not in {"POST", "PUT", "PATCH"}:
            return web.Response(status=405)
        body = await request.read()
        self._hear(request.path, request.headers, body, time.monotonic())
        return web.Response(status=204)

    def _hear(self, path: str, headers: Mapping[str, str], body: bytes, moment: float) -> None:
        counts, callback = self._results.counts, self._callback
        counts["received"] += 1
        if callback.verify is not None:
            lower = {name.lower(): value for name, value in headers.items()}
            if not callback.verify.holds(lower, body, time.time()):
                counts["unverifiable"] += 1
                return
        document = parse(body) if callback.status or (callback.id and callback.id.pointer is not None) else None
        outcome = callback.status.judge(document) if callback.status else Outcome.OK
        if outcome is None:
            counts["unfinished"] += 1
        elif callback.id is not None:
            self._results.arrive_for(callback.id.read(headers, document), outcome, moment)
        elif (index := self._index_of(path)) is None:
            counts["unknown_id"] += 1
        else:
            self._results.arrive(index, outcome, moment)

    def _index_of(self, path: str) -> int | None:
        """The request whose path it is; a callback of an earlier run has another token."""
        rest, _, digits = path.rpartition("/")
        if rest.rpartition("/")[2] != self._token or not (digits.isascii() and digits.isdigit() and len(digits) < 8):
            return None
        return int(digits)

    def learn(self, index: int, answer: Answer, values: Mapping[str, str]) -> None:
        """Has nothing to do: the service calls."""
