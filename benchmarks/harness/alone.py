"""One client that asks, waits and asks again: how long an answer takes while nothing else goes on."""

import http.client
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.harness.database import Log

LEAST: Final = 3
LONGEST_S: Final = 3.0
IDLE_S: Final = 2.0
HEADERS: Final = {"Content-Type": "application/json"}


class Client:
    """A connection that is kept while it is used; services close those that are idle."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._used = 0.0
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """What a POST is answered with."""
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        if time.monotonic() - self._used > IDLE_S:
            self._connection.close()
        self._connection.request(method, path, body, HEADERS if body else {})
        answer = self._connection.getresponse()
        text = answer.read()
        self._used = time.monotonic()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text)


def p50(ask: Callable[[], object], requests: int) -> float:
    """The median of the milliseconds that some requests take, fewer where they are slow."""
    return statistics.median(repeat(lambda: timed(ask), requests))


def statement_ms(ask: Callable[[], object], log: Log, is_part: Callable[[str], bool], requests: int) -> float:
    """The median of the milliseconds that those statements of a request take in PostgreSQL which are part of it."""

    def spent() -> float:
        log.take()
        ask()
        return sum(statement.ms for statement in log.take() if is_part(statement.text))

    return statistics.median(repeat(spent, requests))


def timed(ask: Callable[[], object]) -> float:
    """The milliseconds of a request."""
    began = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - began)


def repeat(measure: Callable[[], float], times: int) -> list[float]:
    """Measures some times, fewer where that takes long."""
    deadline = time.monotonic() + LONGEST_S
    found: list[float] = []
    while len(found) < times and (len(found) < LEAST or time.monotonic() < deadline):
        found.append(measure())
    return found
