"""Cursors of keyset pagination, and the bound on the size of a page."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from uuid import UUID

from yarl import URL

from reportsim.core.json import dumps
from reportsim.core.model import Request
from reportsim.core.problems import Problem
from reportsim.store import requests as store

DIGEST_BYTES: Final = 8


def make_cursor(last: UUID, filters: store.Filters | UUID) -> str:
    """An opaque position: the last id of a page, with a digest of it and the filters (or the id of the parent)."""
    return base64.urlsafe_b64encode(last.bytes + filters_digest(last.bytes, filters)).decode().rstrip("=")


def read_cursor(text: str, filters: store.Filters | UUID) -> UUID:
    """The id in a cursor that was made with these filters.

    Raises:
        Problem: 400 for any other text.
    """
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        raw = b""
    # The decoder skips characters that are not base64, so the text is compared with a newly made cursor.
    if len(raw) != 16 + DIGEST_BYTES or make_cursor(last := UUID(bytes=raw[:16]), filters) != text:
        raise Problem("invalid-cursor", "The cursor does not belong to this list and these filters.")
    return last


def filters_digest(id: bytes, filters: store.Filters | UUID) -> bytes:
    """The digest of an id and the filters."""
    return hashlib.sha256(id + repr(filters).encode()).digest()[:DIGEST_BYTES]


def encode_page(rows: Iterable[Request]) -> Iterator[bytes]:
    """The JSON of the first rows that fit into a response of bounded size, at least of one."""
    size = 0
    for row in rows:
        item = dumps(row.as_json())
        size += len(item)
        if size > store.PAGE_BYTES and size > len(item):
            return
        yield item


def next_page_link(path: str, query: Mapping[str, str], cursor: str) -> tuple[str, dict[str, str]]:
    """The URL of the next page, and the Link header with it."""
    url = str(URL(path).with_query({**query, "cursor": cursor}))
    return url, {"Link": f'<{url}>; rel="next"'}
