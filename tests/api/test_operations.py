"""Health, readiness, cancelling, and what every answer has in common."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from yarl import URL

from reportsim.settings import Settings
from reportsim.store.pool import Connection
from reportsim.web.keys import DRAINING
from tests.api.calls import TINY, UNKNOWN, held_for, listed, processing, submit, until
from tests.conftest import Service, serving

LONG = held_for(60_000)


async def get(service: Service, path: str, **headers: str) -> tuple[int, Any]:
    async with service.client.get(path, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_health_says_that_the_loop_turns(service: Service) -> None:
    assert await get(service, "/healthz") == (200, {"status": "ok"})


async def test_readiness_names_its_checks(service: Service) -> None:
    status, body = await get(service, "/readyz")
    assert status == 200
    assert body["status"] == "ready"
    assert set(body["checks"]) >= {"database", "migrations", "workers", "accepting"}
    assert all(body["checks"].values())
    assert body["failing"] == []


async def test_a_service_that_stops_is_healthy_and_not_ready(service: Service) -> None:
    service.app[DRAINING].set()
    async with service.client.get("/readyz") as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await answer.json())["failing"] == ["accepting"]
    assert (await get(service, "/healthz"))[0] == 200


async def test_a_database_of_another_build_is_not_ready(service: Service, connection: Connection) -> None:
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, '9999_tomorrow.sql', 'x')")
    try:
        status, body = await get(service, "/readyz")
    finally:
        await connection.execute("DELETE FROM schema_migrations WHERE number = 9999")
    assert status == 503
    assert body["failing"] == ["migrations"]


async def test_cancelling_ends_a_request_and_frees_its_slot(settings: Settings) -> None:
    async with serving(replace(settings, workers=1)) as service:
        id = await submit(service, "/api/async", LONG)
        await processing(service, id)
        async with service.client.post(f"/api/requests/{id}/cancel") as answer:
            assert answer.status == 200
            cancelled = await answer.json()
        assert cancelled["status"] == "FAILED"
        assert cancelled["error"]["type"] == "/problems/cancelled"
        assert cancelled["completed_at"]
        assert await get(service, f"/api/requests/{id}") == (200, cancelled)
        async with service.client.post("/api/sync", json=TINY) as answer:
            assert answer.status == 200
            await answer.read()
        assert await get(service, f"/api/requests/{id}") == (200, cancelled)


async def test_a_request_that_waits_for_a_slot_can_be_cancelled(settings: Settings) -> None:
    async with serving(replace(settings, workers=1)) as service:
        ids = [await submit(service, "/api/async", LONG) for _ in range(2)]
        await processing(service, ids[0])
        for id in reversed(ids):
            async with service.client.post(f"/api/requests/{id}/cancel") as answer:
                assert answer.status == 200
                assert (await answer.json())["status"] == "FAILED"


async def test_what_has_ended_cannot_be_cancelled(service: Service) -> None:
    id = await submit(service, "/api/sync")
    for name, status, slug in ((id, 409, "conflict"), (UNKNOWN, 404, "not-found"), ("7", 404, "not-found")):
        async with service.client.post(f"/api/requests/{name}/cancel") as answer:
            assert answer.status == status
            assert (await answer.json())["type"] == f"/problems/{slug}"
    assert (await get(service, f"/api/requests/{id}"))[1]["status"] == "COMPLETED"


async def test_a_cancelled_request_is_announced_as_failed(service: Service) -> None:
    body = {**LONG, "callback_url": f"{service.url}/webhook-test/cancelled"}
    id = await submit(service, "/api/async", body)
    await processing(service, id)
    async with service.client.post(f"/api/requests/{id}/cancel") as answer:
        assert answer.status == 200
        await answer.read()
    assert (await service.ended(id))["callback_status"] == "SUCCESS"
    (arrival,) = (await get(service, "/webhook-test/cancelled"))[1]["items"]
    assert '"type":"report.failed"' in arrival["body"]


async def test_of_an_end_and_a_cancel_that_cross_one_wins_and_is_announced(settings: Settings) -> None:
    # With leases that do not run out here, nothing is delivered twice.
    async with serving(replace(settings, lease_s=30)) as service:
        await cross(service)


async def cross(service: Service) -> None:
    async def cancelled(id: str, after: float) -> bool:
        await asyncio.sleep(after)
        async with service.client.post(f"/api/requests/{id}/cancel") as answer:
            assert answer.status in {200, 409}
            await answer.read()
            return answer.status == 200

    body = {**held_for(20), "callback_url": f"{service.url}/webhook-test/crossing"}
    ids = [await submit(service, "/api/async", body) for _ in range(24)]
    won = await asyncio.gather(*(cancelled(id, n * 0.006) for n, id in enumerate(ids)))
    for id, was_cancelled in zip(ids, won, strict=True):
        ended = await service.ended(id)
        assert (ended["status"] == "FAILED") is (ended["error"] is not None) is was_cancelled
        assert (ended["result_payload"] is None) is was_cancelled
    items = (await get(service, "/webhook-test/crossing"))[1]["items"]
    told = {event["data"]["id"]: event["type"] for event in (json.loads(item["body"]) for item in items)}
    assert len(items) == len(ids)
    assert told == {
        id: "report.failed" if was_cancelled else "report.completed" for id, was_cancelled in zip(ids, won, strict=True)
    }


async def test_a_client_that_waits_for_a_cancelled_request_is_told(service: Service) -> None:
    waiting = asyncio.create_task(service.client.post("/api/sync", json=LONG))
    (id,) = await until(lambda: listed(service))
    async with service.client.post(f"/api/requests/{id}/cancel") as answer:
        assert answer.status == 200
        await answer.read()
    async with await waiting as answer:
        assert answer.status == 409
        problem = await answer.json()
    assert problem["type"] == "/problems/cancelled"
    assert problem["id"] == id


async def test_an_unknown_path_is_a_problem(service: Service) -> None:
    async with service.client.get("/api/nothing") as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"
        problem = await answer.json()
    assert problem.keys() == {"type", "title", "status", "detail", "request_id"}
    assert problem["type"] == "/problems/not-found"


async def test_a_wrong_method_is_told_the_right_ones(service: Service) -> None:
    async with service.client.delete("/api/requests") as answer:
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}
        assert (await answer.json())["type"] == "/problems/method-not-allowed"


async def test_every_answer_carries_an_id_and_the_headers_of_a_careful_service(service: Service) -> None:
    for path in ("/healthz", "/api/requests", "/api/nothing"):
        async with service.client.get(path) as answer:
            headers = answer.headers
            await answer.read()
        assert headers["X-Request-Id"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["Server"] == "reportsim"


async def test_a_sane_request_id_of_the_caller_is_kept(service: Service, subtests: pytest.Subtests) -> None:
    for given, kept in [("trace-7:a", True), ("x" * 129, False), ("no blanks", False), ("é", False)]:
        with subtests.test(given=given):
            async with service.client.get("/healthz", headers={"X-Request-Id": given}) as answer:
                assert (answer.headers["X-Request-Id"] == given) is kept
                await answer.read()


async def test_only_the_names_of_this_machine_are_served_by_default(
    service: Service, subtests: pytest.Subtests
) -> None:
    for host, status in [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ]:
        with subtests.test(host=host):
            assert (await get(service, "/healthz", Host=host))[0] == status


async def test_the_hosts_that_are_served_can_be_set(settings: Settings) -> None:
    async with serving(replace(settings, allowed_hosts=("Reports.Example.org",))) as service:
        assert (await get(service, "/healthz", Host="reports.example.org:443"))[0] == 200
        assert (await get(service, "/healthz", Host="evil.example"))[0] == 421
        assert (await get(service, "/healthz", Host="10.0.0.7"))[0] == 421
        # The image's health check, and the service's calls to its own demo receiver, name this machine.
        assert (await get(service, "/healthz"))[0] == 200
        async with service.client.post("/api/callbacks/simulate-failures", json={**TINY, "failures": 0}) as answer:
            assert answer.status == 202
            id = (await answer.json())["id"]
        assert (await service.ended(id))["callback_status"] == "SUCCESS"
        # One that is bound elsewhere calls itself by that address.
        service.engine.addresses.listen_on("10.0.0.7", 80)
        assert (await get(service, "/healthz", Host="10.0.0.7"))[0] == 200


async def test_pages_of_other_sites_may_not_submit(service: Service, subtests: pytest.Subtests) -> None:
    for headers, status in [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 200),
    ]:
        with subtests.test(headers=headers):
            async with service.client.post("/api/sync", json=TINY, headers=headers) as answer:
                assert answer.status == status
                await answer.read()


async def test_the_page_s_own_origin_may_submit(service: Service, subtests: pytest.Subtests) -> None:
    port = URL(service.url).port
    for origin, host, status in [
        (service.url, None, 200),
        # A port that is the scheme's own is written by some, and left out by others.
        ("http://localhost", "localhost", 200),
        ("http://localhost", "localhost:80", 200),
        ("https://LOCALHOST", "localhost", 200),
        ("https://localhost:443", "localhost", 200),
        (f"http://[::1]:{port}", f"[::1]:{port}", 200),
        ("http://[::1]", "[::1]", 200),
        ("http://localhost", "localhost:8080", 403),
        ("http://localhost:8080", "localhost", 403),
        ("http://[::1]:1", "[::1]:2", 403),
        ("http://127.0.0.1", "localhost", 403),
        ("http://localhost.evil.example", "localhost", 403),
        ("http://localhost@evil.example", "localhost", 403),
        ("//localhost", "localhost", 403),
        ("localhost", "localhost", 403),
        ("", "localhost", 403),
        ("file://", "localhost", 403),
        ("app://localhost", "localhost", 403),
        ("http://localhost:99999", "localhost", 403),
        ("http://localhost http://localhost", "localhost", 403),
    ]:
        headers = {"Origin": origin} | ({"Host": host} if host else {})
        with subtests.test(headers=headers):
            async with service.client.post("/api/sync", json=TINY, headers=headers) as answer:
                assert answer.status == status
                await answer.read()
