"""Limits on how many requests of a kind run at once, in total and per client."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from reportsim.core.problems import quota_exceeded, unavailable

MAX_STREAMS: Final = 2_000
# Only downloads that keep their file open count.
MAX_DOWNLOADS: Final = 128
MAX_DOWNLOADS_PER_CLIENT: Final = 64
# Each export runs a helper process.
MAX_EXPORTS: Final = 4
MAX_EXPORTS_PER_CLIENT: Final = 2
# Each reads a long file up to its page, on the event loop.
MAX_LATE_PAGES: Final = 8
MAX_LATE_PAGES_PER_CLIENT: Final = 4


class ConcurrencyLimit:
    """A bounded number of permits, in total and per client; a request that gets none is refused at once."""

    def __init__(self, subject: str, total: int, per_client: int | None = None) -> None:
        """Takes what is limited, as problems name it, and the number of permits."""
        self._subject = subject
        self._total = total
        self._per_client = total if per_client is None else per_client
        self._permits: Counter[str] = Counter()
        self._held = 0

    @contextlib.contextmanager
    def permit(self, client: str = "") -> Iterator[None]:
        """Holds a permit as long as the block lasts.

        Raises:
            Problem: 429 when the client holds all permits of one client, 503 when all permits are held.
        """
        if self._permits[client] >= self._per_client < self._total:
            raise quota_exceeded(
                self._subject, f"You already have {self._per_client:,} {self._subject}, the maximum.", 1
            )
        if self._held >= self._total:
            raise unavailable(f"There are already {self._total:,} {self._subject}, the maximum.")
        self._permits[client] += 1
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._permits[client] -= 1
            if not self._permits[client]:
                del self._permits[client]


SYNC_LIMIT: Final = web.AppKey("SYNC_LIMIT", ConcurrencyLimit)
STREAM_LIMIT: Final = web.AppKey("STREAM_LIMIT", ConcurrencyLimit)
DOWNLOAD_LIMIT: Final = web.AppKey("DOWNLOAD_LIMIT", ConcurrencyLimit)
EXPORT_LIMIT: Final = web.AppKey("EXPORT_LIMIT", ConcurrencyLimit)
LATE_PAGE_LIMIT: Final = web.AppKey("LATE_PAGE_LIMIT", ConcurrencyLimit)


def setup(app: web.Application, *, sync: int, streams_per_client: int) -> None:
    """Adds the limits to the application."""
    app[SYNC_LIMIT] = ConcurrencyLimit("sync requests", sync)
    app[STREAM_LIMIT] = ConcurrencyLimit("event streams", MAX_STREAMS, streams_per_client)
    app[DOWNLOAD_LIMIT] = ConcurrencyLimit("downloads", MAX_DOWNLOADS, MAX_DOWNLOADS_PER_CLIENT)
    app[EXPORT_LIMIT] = ConcurrencyLimit("exports", MAX_EXPORTS, MAX_EXPORTS_PER_CLIENT)
    app[LATE_PAGE_LIMIT] = ConcurrencyLimit("late pages of long statements", MAX_LATE_PAGES, MAX_LATE_PAGES_PER_CLIENT)
