"""The list of requests on the home page: its rows, its filters with counts, and its pagination."""

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
# Rendering blocks the event loop for about 0.2 ms per row.
LARGEST_PAGE: Final = 100
# The counts of the filters cover the newest requests, and are cached for a second.
COUNTED_REQUESTS: Final = 10_000
COUNTS_TTL_S: Final = 1.0
LONGEST_SEARCH: Final = 255
# The end of an id, as the list shows it.
ID_SUFFIX: Final = re.compile(r"[0-9a-f-]{4,36}", re.ASCII)
# Greater than any id, so that no request is new to the list.
MAX_ID: Final = "g"


class HomeQuery(ListQuery):
    """The parameters of the list, and of its live part."""

    limit = Digits(load_default=DEFAULT_PAGE, validate=validate.Range(1, LARGEST_PAGE))
    fragment = fields.String(validate=validate.OneOf(["list", "race", "cliff"]))
    ids = fields.String()
    race = Identifier()
    q = Text(validate=validate.Length(max=LONGEST_SEARCH))


class RequestCounts:
    """The counts of the newest requests by status, mode and callback status, at most a second old."""

    def __init__(self, pool: Pool, monotonic: Callable[[], float]) -> None:
        """Counts at the first read."""
        self._pool = pool
        self._monotonic = monotonic
        self._counts: Sequence[store.Count] = ()
        self._read_at = float("-inf")

    async def read(self) -> Sequence[store.Count]:
        """The counts."""
        if self._monotonic() - self._read_at >= COUNTS_TTL_S:
            self._read_at = self._monotonic()
            self._counts = await store.counts(self._pool, COUNTED_REQUESTS)
        return self._counts


REQUEST_COUNTS: Final = web.AppKey("REQUEST_COUNTS", RequestCounts)


@dataclass(frozen=True, slots=True)
class Link:
    """A choice of a filter, and how many of the newest requests match it; None if that is not known."""

    text: str
    url: str
    current: bool
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of the list, and its links.

    A request that matches the filters, has an id above `bound` and is not in the rows is new to the list.
    """

    rows: Sequence[Request]
    groups: Mapping[str, Sequence[Link]]
    counted: int
    filtered: bool
    of_run: bool
    """Whether the list is of the requests of one run; those of runs are left out otherwise."""
    search_text: str | None
    first: bool
    bound: str
    live: str
    newest: str
    older: str | None


async def load_listing(request: web.Request, query: Mapping[str, Any]) -> Listing:
    """One page of the list, or the rows with the given `ids`."""
    engine = request.app[ENGINE]
    chosen = {name: query[name] for name in (*FILTERS, "run") if name in query}
    filters = store.Filters(**chosen)
    limit = query["limit"]
    search_text = query.get("q", "").strip() or None
    if "ids" in query:
        rows = sorted(await store.get(engine.pool, parse_ids(query["ids"])), key=lambda row: row.id, reverse=True)
    elif search_text:
        rows = await search(engine.pool, search_text, limit)
    else:
        before = read_cursor(query["cursor"], filters) if "cursor" in query else None
        rows = await store.page(engine.pool, filters, before=before, limit=limit + 1)
    room = sum(1 for _ in encode_page(rows))
    shown = min(len(rows) if "ids" in query else room, limit)
    more = len(rows) > shown
    rows = rows[:shown]
    newest_run = await store.newest_run(engine.pool)
    parameters = {**chosen, **({"limit": limit} if limit != DEFAULT_PAGE else {})}
    search_query = {"q": search_text} if search_text else {}
    first = "cursor" not in query
    return Listing(
        rows=rows,
        groups={
            **filter_links(parameters, [] if "run" in query else await request.app[REQUEST_COUNTS].read()),
            **run_links(parameters, newest_run),
        },
        counted=COUNTED_REQUESTS,
        filtered=any(name in chosen for name in FILTERS),
        of_run="run" in chosen,
        search_text=search_text,
        first=first,
        bound=MAX_ID if search_text else new_request_bound(rows, engine.clock.now(), first=first, more=more),
        live=home_url({**parameters, **search_query, "fragment": "list"}, cursor=query.get("cursor"), fragment=""),
        newest=home_url(parameters),
        older=home_url(parameters, cursor=make_cursor(rows[-1].id, filters)) if more else None,
    )


def new_request_bound(rows: Sequence[Request], now: datetime, *, first: bool, more: bool) -> str:
    """The id above which requests are new to the list: on the first page the last id, elsewhere the current time."""
    if not first:
        return id_prefix(now)
    return str(rows[-1].id) if more else ""


async def search(pool: Pool, text: str, limit: int) -> list[Request]:
    """The requests with an id, the end of an id, or an idempotency key."""
    lower = text.lower()
    id = UUID(lower) if UUID_FORM.fullmatch(lower) else None
    ending = lower if ID_SUFFIX.fullmatch(lower) else None
    return await store.search(pool, id=id, key=text, ending=ending, among=COUNTED_REQUESTS, limit=limit)


def parse_ids(text: str) -> list[UUID]:
    """The ids of a comma-separated list."""
    ids = [part for part in text.split(",") if part]
    if len(ids) > MOST_IDS or not all(UUID_FORM.fullmatch(part) for part in ids):
        error = {"detail": f"Give at most {MOST_IDS} ids, separated by commas.", "parameter": "ids"}
        raise Problem("invalid-parameters", error["detail"], {"errors": [error]})
    return [UUID(part) for part in ids]


def id_prefix(at: datetime) -> str:
    """The prefix of the ids generated at a time."""
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def home_url(parameters: Mapping[str, Any], *, cursor: str | None = None, fragment: str = "requests") -> str:
    """The URL of the home page with some parameters and a fragment."""
    texts = {name: str(value) for name, value in parameters.items()}
    return str(URL("/").with_query(texts | ({"cursor": cursor} if cursor else {})).with_fragment(fragment))


def filter_links(parameters: Mapping[str, Any], counts: Sequence[store.Count]) -> dict[str, list[Link]]:
    """The choices of each filter, which keep the other filters."""
    choices: dict[str, type[Mode | Status | CallbackStatus]] = {
        "status": Status,
        "mode": Mode,
        "callback_status": CallbackStatus,
    }
    groups = {}
    for name, values in choices.items():
        others = {other: value for other, value in parameters.items() if other != name}
        groups[name] = [
            Link(
                text=value or "all",
                url=home_url({**others, name: value} if value else others),
                current=parameters.get(name) == value,
                count=count_matching({**others, name: value} if value else others, counts),
            )
            for value in (None, *values)
        ]
    return groups


def run_links(parameters: Mapping[str, Any], newest: UUID | None) -> dict[str, list[Link]]:
    """The switch between single requests and those of a race or benchmark, where there has been one."""
    chosen = parameters.get("run")
    if newest is None and chosen is None:
        return {}
    others = {name: value for name, value in parameters.items() if name != "run"}
    links = [Link("single", home_url(others), current=chosen is None, count=None)]
    if newest is not None:
        url = home_url({**others, "run": newest})
        links.append(Link("of the newest race or benchmark", url, current=chosen == newest, count=None))
    if chosen not in {None, newest}:
        links.append(Link("of another run", home_url(parameters), current=True, count=None))
    return {"requests": links}


def count_matching(wanted: Mapping[str, Any], counts: Sequence[store.Count]) -> int | None:
    """How many of the counted requests match the filters."""
    filters = {name: wanted[name] for name in FILTERS if name in wanted}
    matching = [count for count in counts if all(getattr(count, name) == value for name, value in filters.items())]
    return sum(count.count for count in matching) if counts else None
