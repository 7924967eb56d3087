"""Lists stay whole under concurrent writes: what was there and stays is seen exactly once."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from reportsim.core.model import CallbackStatus, Mode, Status
from reportsim.store import requests as store
from reportsim.store.pool import Pool
from tests.api.calls import TINY, submit
from tests.conftest import Service
from tests.store.rows import LEASE, ME, end_of, inserted, new, now
from tests.store.rows import URL as HOOK

# Between two pages: rows come, go, or change their state.
WRITES = st.lists(st.tuples(st.sampled_from(["come", "go", "end"]), st.integers(1, 4)), max_size=3)


async def write(pool: Pool, kind: str, count: int, kept: set[UUID]) -> None:
    """One write by somebody else."""
    match kind:
        case "come":
            await inserted(pool, *(new() for _ in range(count)))
        case "go":
            rows = await store.page(pool, store.Filters(), before=None, limit=1_000)
            gone = [row.id for row in rows[::3] if row.id not in kept][:count]
            await pool.execute("DELETE FROM requests WHERE id = ANY($1::uuid[])", gone)
        case "end":
            claimed = await store.claim(pool, ME, count, LEASE, now())
            await store.finish(pool, ME, LEASE, [end_of(row) for row in claimed])


async def walk(service: Service, limit: int, between: Callable[[], Awaitable[None]], **filters: str) -> list[UUID]:
    """All pages, with something happening between them."""
    seen: list[UUID] = []
    url: URL | None = URL("/api/requests").with_query({"limit": str(limit), **filters})
    while url is not None:
        async with service.client.get(url) as answer:
            assert answer.status == 200
            page = await answer.json()
            assert ("next" in answer.links) is (page["next"] is not None)
        seen += [UUID(item["id"]) for item in page["items"]]
        url = URL(page["next"]) if page["next"] else None
        await between()
    return seen


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 25), st.integers(1, 10), st.lists(WRITES, max_size=8), st.data())
async def test_what_was_there_and_stays_is_seen_once(
    paused: Service, count: int, limit: int, plan: list[list[tuple[str, int]]], data: st.DataObject
) -> None:
    pool = paused.engine.pool
    await pool.execute("DELETE FROM requests")
    before = [row.id for row in await inserted(pool, *(new() for _ in range(count)))]
    kept = set(data.draw(st.lists(st.sampled_from(before), unique=True)))
    writes = iter(plan)

    async def between() -> None:
        for kind, size in next(writes, []):
            await write(pool, kind, size, kept)

    seen = await walk(paused, limit, between)
    assert len(set(seen)) == len(seen)
    assert kept <= set(seen)
    assert seen == sorted(seen, reverse=True)
    # What came meanwhile is newer than where the walk already was.
    assert set(seen) <= set(before)


@pytest.fixture
async def paused(service: Service) -> Service:
    """A service whose worker leaves the rows of the test alone."""
    service.engine.stop_taking()
    return service


async def test_a_page_may_begin_behind_a_row_that_is_gone(service: Service) -> None:
    ids = [await submit(service) for _ in range(4)]
    async with service.client.get("/api/requests?limit=2") as answer:
        following = (await answer.json())["next"]
    for id in ids:
        await service.ended(id)
    await service.engine.pool.execute("DELETE FROM requests WHERE id = ANY($1::uuid[])", ids[1:3])
    async with service.client.get(following) as answer:
        assert [item["id"] for item in (await answer.json())["items"]] == ids[:1]


async def test_the_size_of_pages_may_change_on_the_way(service: Service) -> None:
    ids = [await submit(service) for _ in range(6)]
    async with service.client.get("/api/requests?limit=1") as answer:
        following = URL((await answer.json())["next"])
    async with service.client.get(following.update_query(limit="4")) as answer:
        assert [item["id"] for item in (await answer.json())["items"]] == ids[4:0:-1]


@pytest.mark.parametrize(
    "filters",
    [{"mode": mode} for mode in Mode]
    + [{"status": status} for status in Status]
    + [{"callback_status": status} for status in CallbackStatus]
    + [{"mode": "async", "status": "FAILED"}, {"status": "COMPLETED", "callback_status": "SUCCESS"}],
    ids=lambda filters: "-".join(filters.values()),
)
async def test_a_filter_leaves_exactly_what_passes_it(paused: Service, filters: dict[str, Any]) -> None:
    pool = paused.engine.pool
    rows = [
        new(mode=Mode.SYNC, status=Status.PENDING),
        new(),
        new(callback_url=HOOK),
        *(new(callback_url=HOOK) for _ in range(3)),
        new(),
    ]
    made = await inserted(pool, *rows)
    for row, state, callback in [
        (made[3], "COMPLETED", "SUCCESS"),
        (made[4], "FAILED", "FAILED"),
        (made[5], "PROCESSING", "PENDING"),
        (made[6], "FAILED", None),
    ]:
        ended = state in {"COMPLETED", "FAILED"}
        await pool.execute(
            "UPDATE requests SET status = $2, callback_status = $3, completed_at = $4, result_payload = $5"
            " WHERE id = $1",
            row.id,
            state,
            callback,
            now() if ended else None,
            "{}" if state == "COMPLETED" else None,
        )
    everything = await store.page(pool, store.Filters(), before=None, limit=100)
    expected = [row.id for row in everything if all(getattr(row, name) == value for name, value in filters.items())]

    async def nothing() -> None:
        pass

    assert expected
    assert await walk(paused, 1, nothing, **filters) == expected


async def test_next_is_the_only_sign_of_more(service: Service) -> None:
    for _ in range(2):
        async with service.client.post("/api/async", json=TINY) as answer:
            assert answer.status == 202
    async with service.client.get("/api/requests?limit=2") as answer:
        body = await answer.json()
    assert (len(body["items"]), body["next"]) == (2, None)
    assert "Link" not in answer.headers
