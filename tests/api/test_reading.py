"""Reading: the list with its pages and filters, one request, the ledgers."""

import asyncio
from datetime import date
from typing import Any

import pytest
from yarl import URL

from tests.api.calls import FAILING, TINY, UNKNOWN, held_for, read, submit
from tests.conftest import Service


async def page(service: Service, **parameters: Any) -> tuple[list[str], str | None]:
    """The ids of one page, and where the next one is."""
    async with service.client.get("/api/requests", params=parameters) as answer:
        assert answer.status == 200
        body = await answer.json()
        link = answer.headers.get("Link")
    assert body.keys() == {"items", "next"}
    assert link == (f'<{body["next"]}>; rel="next"' if body["next"] else None)
    return [item["id"] for item in body["items"]], body["next"]


async def walk(service: Service, **parameters: Any) -> list[list[str]]:
    """All pages, by following `next` as it stands."""
    ids, following = await page(service, **parameters)
    pages = [ids]
    while following:
        ids, following = await page(service, **dict(URL(following).query))
        pages.append(ids)
    return pages


async def test_pages_lead_to_the_end_newest_first(service: Service) -> None:
    made = [await submit(service) for _ in range(5)]
    assert await walk(service, limit=2) == [made[:2:-1], made[2:0:-1], made[:1]]
    assert await walk(service, limit=5) == [made[::-1]]
    assert await walk(service) == [made[::-1]]


async def test_requests_made_while_paging_disturb_nothing(service: Service) -> None:
    made = [await submit(service) for _ in range(4)]
    first, following = await page(service, limit=2)
    await submit(service)
    assert following is not None
    second, following = await page(service, **dict(URL(following).query))
    assert first + second == made[::-1]
    assert following is None


async def test_an_empty_list_is_a_page_without_a_next(service: Service) -> None:
    assert await page(service) == ([], None)


async def test_the_list_shows_requests_as_they_show_themselves(service: Service) -> None:
    id = await submit(service, "/api/sync")
    assert (await read(service, "/api/requests"))["items"] == [await read(service, f"/api/requests/{id}")]


async def test_filters_choose_and_stay_on_the_next_pages(service: Service) -> None:
    blocking = [await submit(service, "/api/sync") for _ in range(3)]
    later = [await submit(service), await submit(service, "/api/async", FAILING)]
    called = await submit(service, "/api/async", {**TINY, "callback_url": f"{service.url}/webhook-test/inbox"})
    await asyncio.gather(*(service.ended(id) for id in [*later, called]))
    everything = [*blocking, *later, called]
    for parameters, expected in [
        ({"mode": "sync"}, blocking),
        ({"mode": "async"}, [*later, called]),
        ({"status": "FAILED"}, later[1:]),
        ({"status": "COMPLETED", "mode": "async"}, [later[0], called]),
        ({"callback_status": "SUCCESS"}, [called]),
        ({"callback_status": "FAILED"}, []),
        ({"run": UNKNOWN}, []),
        ({}, everything),
    ]:
        pages = await walk(service, limit=2, **parameters)
        assert [id for page in pages for id in page] == expected[::-1], parameters
        assert all(len(page) == 2 for page in pages[:-1])


async def test_a_cursor_belongs_to_its_filters(service: Service) -> None:
    for _ in range(3):
        await submit(service)
    _, following = await page(service, limit=1, mode="async")
    assert following is not None
    cursor = URL(following).query["cursor"]
    for parameters in (
        {"cursor": cursor},
        {"cursor": cursor, "mode": "sync"},
        {"cursor": cursor, "mode": "async", "status": "COMPLETED"},
        {"cursor": ("A" if cursor[0] != "A" else "B") + cursor[1:], "mode": "async"},
        {"cursor": cursor[:-2], "mode": "async"},
        *(
            {"cursor": foreign, "mode": "async"}
            for foreign in (f"{cursor}!", f"{cursor[:5]}.{cursor[5:]}", f"{cursor}=")
        ),
        *(
            {"cursor": foreign, "mode": "async"}
            for foreign in (f" {cursor}", f"{cursor}\n", f"{cursor}A", f"é{cursor}")
        ),
        {"cursor": "nonsense", "mode": "async"},
        {"cursor": "", "mode": "async"},
        {"cursor": "größer", "mode": "async"},
        {"cursor": "\0", "mode": "async"},
    ):
        async with service.client.get("/api/requests", params=parameters) as answer:
            assert answer.status == 400, parameters
            assert (await answer.json())["type"] == "/problems/invalid-cursor"
    # The size of the page is no filter.
    ids, _ = await page(service, limit=2, mode="async", cursor=cursor)
    assert len(ids) == 2


async def test_a_wrong_or_unknown_parameter_is_named(service: Service, subtests: pytest.Subtests) -> None:
    for query, parameter in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limt=5", "limt"),
        ("status=completed", "status"),
        ("mode=both", "mode"),
        ("callback_status=NONE", "callback_status"),
        ("run=latest", "run"),
    ]:
        with subtests.test(query=query):
            async with service.client.get(URL(f"/api/requests?{query}", encoded=True)) as answer:
                assert answer.status == 422
                assert answer.content_type == "application/problem+json"
                errors = (await answer.json())["errors"]
            assert {error["parameter"] for error in errors} == {parameter}


@pytest.mark.parametrize("path", ["", "/callback-logs"])
async def test_what_is_not_there_is_404_whatever_its_id_looks_like(
    service: Service, path: str, subtests: pytest.Subtests
) -> None:
    for id in (UNKNOWN, "7", "not-a-uuid", UNKNOWN.replace("-", ""), "%00", "..%2f", f"{UNKNOWN}x"):
        with subtests.test(id=id):
            async with service.client.get(URL(f"/api/requests/{id}{path}", encoded=True)) as answer:
                assert answer.status == 404
                assert answer.content_type == "application/problem+json"
                problem = await answer.json()
            assert problem["type"] == "/problems/not-found"
            assert problem["status"] == 404
            assert problem["title"]
            assert problem["detail"]
            assert problem["request_id"] == answer.headers["X-Request-Id"]


async def test_a_request_that_has_not_ended_says_when_to_look_again(service: Service) -> None:
    id = await submit(service, "/api/async", held_for(60_000))
    async with service.client.get(f"/api/requests/{id}") as answer:
        assert (await answer.json())["status"] in {"PENDING", "PROCESSING"}
        assert int(answer.headers["Retry-After"]) >= 1
    async with service.client.post(f"/api/requests/{id}/cancel") as answer:
        assert answer.status == 200
    done = await submit(service, "/api/sync")
    async with service.client.get(f"/api/requests/{done}") as answer:
        assert "Retry-After" not in answer.headers
        await answer.read()


async def test_the_ledgers_are_listed_with_window_and_size(service: Service) -> None:
    items = (await read(service, "/api/ledgers"))["items"]
    assert [item["name"] for item in items] == ["demo", "tiny"]
    for item in items:
        assert list(item) == ["name", "currency", "exponent", "from", "to", "lines"]
        assert (item["currency"], item["exponent"]) == ("EUR", 2)
        assert date.fromisoformat(item["from"]) < date.fromisoformat(item["to"])
    assert items[1]["lines"] == 40
