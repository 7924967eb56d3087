"""The `requests` table: insert, claim, renew, end and read its rows. Functions take many rows in one statement."""

from reportsim.store.requests.claims import PassOver, begin, claim, has_unowned, reserve, return_reserved, take_over
from reportsim.store.requests.ends import Finish, abandon, finish
from reportsim.store.requests.insertion import Insertion, NewRequest, Waiting, insert
from reportsim.store.requests.leases import release, renew
from reportsim.store.requests.queries import (
    PAGE_BYTES,
    Count,
    Filters,
    StoredAnswer,
    counts,
    get,
    get_one,
    newest_run,
    page,
    search,
    stored_answer,
)
from reportsim.store.requests.retention import existing, prune
from reportsim.store.requests.rows import DriverUUID

__all__ = [
    "PAGE_BYTES",
    "Count",
    "DriverUUID",
    "Filters",
    "Finish",
    "Insertion",
    "NewRequest",
    "PassOver",
    "StoredAnswer",
    "Waiting",
    "abandon",
    "begin",
    "claim",
    "counts",
    "existing",
    "finish",
    "get",
    "get_one",
    "has_unowned",
    "insert",
    "newest_run",
    "page",
    "prune",
    "release",
    "renew",
    "reserve",
    "return_reserved",
    "search",
    "stored_answer",
    "take_over",
]
