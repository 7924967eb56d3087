"""POST /api/requests/redeliver: many series at once, chosen by filters."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.engine.delivery.ssrf_guard import HostResolver
from reportsim.settings import Settings
from reportsim.store.pool import Pool
from tests.api.calls import logs_of, read, submit
from tests.conftest import Service, serving
from tests.engine.receiver import Receiver, receiving
from tests.store.rows import ended, new

MANY = "/api/requests/redeliver"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, callback_allow=AllowList.parse("127.0.0.0/8"), callback_attempts=1)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that fails until it is told otherwise."""
    async with receiving() as running:
        running.status = lambda _: 500
        yield running


async def failed(service: Service, receiver: Receiver, count: int, *, host: str = "127.0.0.1") -> list[str]:
    """Requests whose callback has failed, oldest first."""
    body = {"ledger": "tiny", "callback_url": receiver.url(host=host)}
    ids = [await submit(service, "/api/async", body) for _ in range(count)]
    for id in ids:
        assert (await service.ended(id))["callback_status"] == "FAILED"
    return ids


async def redeliver(service: Service, body: dict[str, Any] | None = None) -> dict[str, Any]:
    async with service.client.post(MANY, json=body) as answer:
        answered: dict[str, Any] = await answer.json()
        assert answer.status == 202, answered
    return answered


async def test_all_that_failed_are_delivered_again(service: Service, receiver: Receiver) -> None:
    ids = await failed(service, receiver, 3)
    receiver.status = lambda _: 200
    assert await redeliver(service, {}) == {"started": 3, "count": 3, "ids": ids, "more": False}
    for id in ids:
        ended = await service.ended(id)
        assert (ended["callback_status"], ended["callback_attempts"]) == ("SUCCESS", 1)
        assert [log["series"] for log in await logs_of(service, id)] == [1, 2]
    assert await redeliver(service, {}) == {"started": 0, "count": 0, "ids": [], "more": False}


async def test_no_body_asks_for_the_same(service: Service, receiver: Receiver) -> None:
    ids = await failed(service, receiver, 1)
    async with service.client.post(MANY) as answer:
        assert answer.status == 202
        assert (await answer.json())["ids"] == ids


async def test_a_call_starts_so_many_and_says_that_there_may_be_more(service: Service, receiver: Receiver) -> None:
    ids = await failed(service, receiver, 3)
    receiver.holds = {"hook"}
    assert await redeliver(service, {"limit": 2}) == {"started": 2, "count": 2, "ids": ids[:2], "more": True}
    assert await redeliver(service, {"limit": 2}) == {"started": 1, "count": 1, "ids": ids[2:], "more": False}


async def test_a_running_series_is_left_alone(service: Service, receiver: Receiver) -> None:
    [id] = await failed(service, receiver, 1)
    receiver.holds = {"hook"}
    assert (await redeliver(service))["count"] == 1
    assert (await redeliver(service))["count"] == 0
    async with service.client.post(f"/api/requests/{id}/redeliver") as answer:
        assert answer.status == 409
        await answer.read()


async def test_the_filters_are_those_of_the_list_and_more(service: Service, receiver: Receiver) -> None:
    first, second = await failed(service, receiver, 2)
    [other] = await failed(service, receiver, 1, host="127.0.0.2")
    receiver.holds = {"hook"}
    since = (await read(service, f"/api/requests/{second}"))["created_at"]
    for body, ids in [
        ({"callback_status": "SUCCESS"}, []),
        ({"mode": "sync"}, []),
        ({"status": "FAILED"}, []),
        ({"until": since, "since": "2020-01-01T00:00:00+01:00", "status": "COMPLETED", "mode": "async"}, [first]),
        ({"origin": f"HTTP://127.0.0.2:{receiver.port}"}, [other]),
        ({"since": since}, [second]),
    ]:
        assert (await redeliver(service, body))["ids"] == ids, body


async def test_a_destination_is_the_same_however_it_is_spelt(
    service: Service, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: Any) -> None:
        raise OSError("no names here")

    monkeypatch.setattr(HostResolver, "resolve", unknown)
    demo = f"{service.url}/webhook-test/one"
    for origin, urls in {
        "http://h.example:80": ["http://h.example", "http://h.example:80/a?b", "HTTP://H.EXAMPLE./"],
        "https://h.example:443": ["https://h.example/", "https://h.example:443"],
        "https://h.example:8443": ["https://h.example:8443/"],
        "http://xn--bcher-kva.example:80": ["http://bücher.example", "http://xn--bcher-kva.example:80/"],
        demo: [demo, f"{demo}?script=503"],
        f"{service.url}/webhook-test/two": [f"{service.url}/webhook-test/two"],
    }.items():
        ids = [await submit(service, "/api/async", {"ledger": "tiny", "callback_url": url}) for url in urls]
        for id in ids:
            await service.ended(id)
        found = await pool.fetch("SELECT callback_origin FROM requests WHERE id = ANY($1)", ids)
        assert [row["callback_origin"] for row in found] == [origin] * len(urls)
        for url in urls if "webhook-test" not in origin else []:
            asked = {"origin": url.partition("/a")[0].removesuffix("/")}
            assert (await redeliver(service, asked))["ids"] == ids, asked
            for id in ids:
                await service.ended(id)


async def test_the_failures_that_are_simulated_have_destinations_of_their_own(service: Service, pool: Pool) -> None:
    id = await submit(service, "/api/callbacks/simulate-failures", {"ledger": "tiny", "failures": 0})
    origin = await pool.fetchval("SELECT callback_origin FROM requests WHERE id = $1", id)
    assert origin == f"{service.url}/webhook-test/{id}"


async def test_it_is_no_request_of_that_name(service: Service) -> None:
    async with service.client.get(MANY) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "POST"
        await answer.read()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], "#"),
        ({"callback_status": "PENDING"}, "#/callback_status"),
        ({"callback_status": None}, "#/callback_status"),
        ({"limit": 0}, "#/limit"),
        ({"limit": 201}, "#/limit"),
        ({"limit": "5"}, "#/limit"),
        ({"since": "yesterday"}, "#/since"),
        ({"since": "2025-01-01T00:00:00"}, "#/since"),
        ({"until": "2025-02-30T00:00:00Z"}, "#/until"),
        ({"until": 5}, "#/until"),
        ({"mode": "both"}, "#/mode"),
        ({"status": "PENDING"}, "#/status"),
        ({"origin": "example.com"}, "#/origin"),
        ({"origin": "https://example.com/path"}, "#/origin"),
        ({"origin": "https://example.com:0"}, "#/origin"),
        ({"origin": "http://169.254.169.254"}, "#/origin"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "#/since"),
        ({"until": "9999-12-31T23:59:59-14:00"}, "#/until"),
        ({"ids": []}, "#/ids"),
    ],
)
async def test_what_cannot_be_meant_is_refused(service: Service, body: Any, pointer: str) -> None:
    async with service.client.post(MANY, json=body) as answer:
        assert answer.status == 422
        assert [error["pointer"] for error in (await answer.json())["errors"]] == [pointer]


class TestQuota:
    """Whatever causes callbacks costs the quota of those who cause them otherwise."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, async_rate=10)

    async def ended(self, pool: Pool, receiver: Receiver, count: int) -> list[str]:
        """Requests whose callback has failed, without a trace in the quota."""
        rows = await ended(pool, *(new(callback_url=receiver.url()) for _ in range(count)))
        await pool.execute(
            "UPDATE requests SET callback_status = 'FAILED', callback_attempts = 1, callback_owner = NULL,"
            " callback_due_at = NULL, status = 'FAILED', result_payload = NULL, error = $1",
            '{"type": "/problems/cancelled", "title": "Cancelled", "status": 409, "detail": "By hand."}',
        )
        return [str(row.id) for row in rows]

    async def test_is_charged_for_each_callback_of_many(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        ids = await self.ended(pool, receiver, 15)
        async with serving(settings) as service:
            receiver.status = lambda _: 200
            async with service.client.post(MANY, json={"limit": 3}) as answer:
                assert (await answer.json())["started"] == 3
                assert answer.headers["RateLimit"].startswith('"async";r=7;')
            async with service.client.post(MANY, json={}) as answer:
                body = await answer.json()
                assert (body["started"], body["ids"], body["more"]) == (7, ids[3:10], True)
                assert answer.headers["RateLimit"].startswith('"async";r=0;')
            async with service.client.post(MANY, json={}) as answer:
                assert answer.status == 429
                assert int(answer.headers["Retry-After"]) >= 1
                await answer.read()
            await receiver.count(10)
            assert len({arrival.request_id for arrival in receiver.arrivals}) == 10

    async def test_is_given_back_where_nothing_matches(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        await self.ended(pool, receiver, 1)
        async with serving(settings) as service:
            for left in (9, 8):
                async with service.client.post(MANY, json={"status": "COMPLETED"}) as answer:
                    assert (await answer.json())["started"] == 0
                    assert answer.headers["RateLimit"].startswith(f'"async";r={left};')

    @pytest.mark.parametrize("path", ["/api/requests/{}/redeliver", "/requests/{}/redeliver"])
    async def test_is_charged_for_one(self, settings: Settings, pool: Pool, receiver: Receiver, path: str) -> None:
        ids = await self.ended(pool, receiver, 11)
        async with serving(settings) as service:
            receiver.status = lambda _: 200
            for id in ids[:10]:
                async with service.client.post(path.format(id), allow_redirects=False) as answer:
                    assert answer.status in {202, 303}
                    await answer.read()
            async with service.client.post(path.format(ids[10]), allow_redirects=False) as answer:
                assert answer.status == 429
                assert (answer.content_type == "text/html") is not path.startswith("/api/")
                assert "quota" in await answer.text()
            await receiver.count(10)
            assert await pool.fetchval("SELECT callback_series FROM requests WHERE id = $1", ids[10]) == 1

    async def test_is_one_for_all_that_cause_callbacks(
        self, settings: Settings, pool: Pool, receiver: Receiver
    ) -> None:
        ids = await self.ended(pool, receiver, 12)
        async with serving(settings) as service:
            async with service.client.post(MANY, json={"limit": 8}) as answer:
                assert (await answer.json())["started"] == 8
            for path in ("/api/callbacks/simulate-failures", f"/api/requests/{ids[11]}/redeliver"):
                async with service.client.post(path) as answer:
                    assert answer.status == 202, path
                    await answer.read()
            for path in ("/api/async", "/api/callbacks/simulate-failures", f"/api/requests/{ids[10]}/redeliver", MANY):
                async with service.client.post(path) as answer:
                    assert answer.status == 429, path
                    await answer.read()


async def test_a_request_has_twenty_series_at_most(service: Service, pool: Pool, receiver: Receiver) -> None:
    [id] = await failed(service, receiver, 1)
    for series in range(2, 21):
        async with service.client.post(f"/api/requests/{id}/redeliver") as answer:
            assert answer.status == 202, series
            await answer.read()
        await service.ended(id)
    async with service.client.post(f"/api/requests/{id}/redeliver") as answer:
        assert answer.status == 409
        assert "20 series" in (await answer.json())["detail"]
    async with service.client.post(f"/requests/{id}/redeliver") as answer:
        assert answer.status == 409
        assert "20 series" in await answer.text()
    assert (await redeliver(service))["started"] == 0
    assert len(receiver.arrivals) == 20


async def test_the_log_is_read_a_page_at_a_time(service: Service, pool: Pool, receiver: Receiver) -> None:
    """Also the log of a request that was called back very often, before that had a bound."""
    [id] = await failed(service, receiver, 1)
    await pool.execute(
        "INSERT INTO callback_logs (id, request_id, series, attempt_number, success, response_time_ms, attempted_at)"
        " SELECT gen_random_uuid(), $1, number / 3 + 2, number % 3 + 1, false, 1, now()"
        " FROM generate_series(0, 449) AS number",
        id,
    )
    first = await read(service, f"/api/requests/{id}/callback-logs")
    assert len(first["items"]) == 200
    found, url = [], f"/api/requests/{id}/callback-logs?limit=150"
    while url:
        async with service.client.get(url) as answer:
            page = await answer.json()
            assert (answer.headers.get("Link") == f'<{page["next"]}>; rel="next"') is (page["next"] is not None)
        found += [(log["series"], log["attempt_number"]) for log in page["items"]]
        url = page["next"]
    assert found == [(1, 1), *((number // 3 + 2, number % 3 + 1) for number in range(450))]
    [other] = await failed(service, receiver, 1)
    cursor = first["next"].partition("cursor=")[2]
    for path, status in {
        f"/api/requests/{other}/callback-logs?cursor={cursor}": 400,
        f"/api/requests/{id}/callback-logs?cursor=x": 400,
        f"/api/requests/{id}/callback-logs?limit=201": 422,
        f"/api/requests/{id}/callback-logs?what=1": 422,
    }.items():
        async with service.client.get(path) as answer:
            assert answer.status == status, path
            await answer.read()
    async with service.client.get(f"/requests/{id}") as answer:
        text = await answer.text()
    assert text.count('data-label="Attempt"') == 100
    assert "The newest 100 attempts" in text
