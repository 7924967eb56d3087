"""The list of requests as the home page shows it: rows, filters with their counts, pages."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from aiohttp import web
from marshmallow import fields, validate
from yarl import URL

from reportsim.core.model import CallbackStatus, Mode, Request, Status
from reportsim.core.problems import Problem
from reportsim.reports.fields import UUID_FORM, Digits, Identifier, Text
from reportsim.schemas.queries import DEFAULT_PAGE, ListQuery
from reportsim.store import requests as store
from reportsim.store.pool import Pool
from reportsim.web.keys import ENGINE
from reportsim.web.pagination import encode_page, make_cursor, read_cursor

FILTERS: Final = ("status", "mode", "callback_status")
MOST_IDS: Final = 50
# Rows are rendered in one go, which holds the event loop: a fifth of a millisecond each.
LARGEST_PAGE: Final = 100
# The newest requests that the filters count, and for how long the counts are kept.
COUNTED: Final = 10_000
FRESH_S: Final = 1.0
LONGEST_SEARCH: Final = 255
# The end of an id, as the list shows it.
ENDING: Final = re.compile(r"[0-9a-f-]{4,36}", re.ASCII)
# Greater than the id of any request to come.
NEVER: Final = "g"


class HomeQuery(ListQuery):
    """The list's parameters, whether only its live part is asked for, and of which rows."""

    limit = Digits(load_default=DEFAULT_PAGE, validate=validate.Range(1, LARGEST_PAGE))
    fragment = fields.String(validate=validate.OneOf(["list", "race"]))
    ids = fields.String()
    race = Identifier()
    q = Text(validate=validate.Length(max=LONGEST_SEARCH))


class Counters:
    """How the newest requests are distributed, a second old at most."""

    def __init__(self, pool: Pool, monotonic: Callable[[], float]) -> None:
        """Counts when first asked."""
        self._pool = pool
        self._monotonic = monotonic
        self._counts: Sequence[store.Count] = ()
        self._read_at = float("-inf")

    async def read(self) -> Sequence[store.Count]:
        """The counts."""
        if self._monotonic() - self._read_at >= FRESH_S:
            self._read_at = self._monotonic()
            self._counts = await store.counts(self._pool, COUNTED)
        return self._counts


COUNTERS: Final = web.AppKey("COUNTERS", Counters)


@dataclass(frozen=True, slots=True)
class Link:
    """A choice of a filter, and how many of the newest requests it leaves; None when that is not known."""

    text: str
    url: str
    current: bool
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A part of the list, and everything that leads elsewhere from it.

    A request with an id above `bound` that is not among the rows, yet passes the filters, is new to the list.
    """

    rows: Sequence[Request]
    groups: Mapping[str, Sequence[Link]]
    counted: int
    filtered: bool
    searched: str | None
    first: bool
    bound: str
    live: str
    newest: str
    older: str | None


async def listing(request: web.Request, query: Mapping[str, Any]) -> Listing:
    """One page of the list, or the rows that `ids` names."""
    engine = request.app[ENGINE]
    chosen = {name: query[name] for name in (*FILTERS, "run") if name in query}
    filters = store.Filters(**chosen)
    limit = query["limit"]
    searched = query.get("q", "").strip() or None
    if "ids" in query:
        rows = sorted(await store.get(engine.pool, parse_ids(query["ids"])), key=lambda row: row.id, reverse=True)
    elif searched:
        rows = await search(engine.pool, searched, limit)
    else:
        before = read_cursor(query["cursor"], filters) if "cursor" in query else None
        rows = await store.page(engine.pool, filters, before=before, limit=limit + 1)
    room = sum(1 for _ in encode_page(rows))
    shown = min(len(rows) if "ids" in query else room, limit)
    more = len(rows) > shown
    rows = rows[:shown]
    kept = {**chosen, **({"limit": limit} if limit != DEFAULT_PAGE else {})}
    sought = {"q": searched} if searched else {}
    first = "cursor" not in query
    last_id = str(rows[-1].id) if more else ""
    return Listing(
        rows=rows,
        groups=filter_links(kept, [] if "run" in query else await request.app[COUNTERS].read()),
        counted=COUNTED,
        filtered=any(name in chosen for name in FILTERS),
        searched=searched,
        first=first,
        bound=NEVER if searched else last_id if first else id_prefix(engine.clock.now()),
        live=home_url({**kept, **sought, "fragment": "list"}, cursor=query.get("cursor"), place=""),
        newest=home_url(kept),
        older=home_url(kept, cursor=make_cursor(rows[-1].id, filters)) if more else None,
    )


async def search(pool: Pool, text: str, limit: int) -> list[Request]:
    """The requests that a text means: an id or its end, or an idempotency key."""
    lower = text.lower()
    id = UUID(lower) if UUID_FORM.fullmatch(lower) else None
    ending = lower if ENDING.fullmatch(lower) else None
    return await store.search(pool, id=id, key=text, ending=ending, among=COUNTED, limit=limit)


def parse_ids(text: str) -> list[UUID]:
    """The ids of a list separated by commas."""
    ids = [part for part in text.split(",") if part]
    if len(ids) > MOST_IDS or not all(UUID_FORM.fullmatch(part) for part in ids):
        error = {"detail": f"Give at most {MOST_IDS} ids, separated by commas.", "parameter": "ids"}
        raise Problem("invalid-parameters", error["detail"], {"errors": [error]})
    return [UUID(part) for part in ids]


def id_prefix(at: datetime) -> str:
    """What the ids start with that are made at a moment."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def home_url(parameters: Mapping[str, Any], *, cursor: str | None = None, place: str = "requests") -> str:
    """The home page with some parameters, from a place on."""
    kept = {name: str(value) for name, value in parameters.items()}
    return str(URL("/").with_query(kept | ({"cursor": cursor} if cursor else {})).with_fragment(place))


def filter_links(kept: Mapping[str, Any], counts: Sequence[store.Count]) -> dict[str, list[Link]]:
    """The choices of each filter, which leave the other filters as they are."""
    choices: dict[str, type[Mode | Status | CallbackStatus]] = {
        "status": Status,
        "mode": Mode,
        "callback_status": CallbackStatus,
    }
    groups = {}
    for name, values in choices.items():
        others = {other: value for other, value in kept.items() if other != name}
        groups[name] = [
            Link(
                text=value or "all",
                url=home_url({**others, name: value} if value else others),
                current=kept.get(name) == value,
                count=passing({**others, name: value} if value else others, counts),
            )
            for value in (None, *values)
        ]
    return groups


def passing(wanted: Mapping[str, Any], counts: Sequence[store.Count]) -> int | None:
    """How many of the counted requests pass the filters."""
    filters = {name: wanted[name] for name in FILTERS if name in wanted}
    alike = [count for count in counts if all(getattr(count, name) == value for name, value in filters.items())]
    return sum(count.count for count in alike) if counts else None
