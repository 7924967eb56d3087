"""POST /api/sync and POST /api/async: one report, two ways to wait for it."""

import asyncio
import hashlib
import re
from dataclasses import replace
from datetime import datetime

from reportsim.settings import Settings
from reportsim.store.pool import Connection
from tests.api.calls import FAILING, TINY, held_for, listed, processing, read, submit, until
from tests.conftest import Service, serving

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
MEMBERS = [
    "id",
    "mode",
    "status",
    "input_payload",
    "result_payload",
    "callback_url",
    "callback_status",
    "callback_attempts",
    "idempotency_key",
    "created_at",
    "started_at",
    "completed_at",
    "error",
    "links",
]


async def test_sync_answers_with_the_finished_report(service: Service) -> None:
    async with service.client.post("/api/sync") as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        body = await answer.json()
    assert body["status"] == "COMPLETED"
    assert body["mode"] == "sync"
    result = body["result_payload"]
    assert result["totals"]["period_debit"] == result["totals"]["period_credit"] > 0
    async with service.client.get(body["links"]["report"]) as answer:
        assert answer.status == 200
        csv = await answer.read()
    assert hashlib.sha256(csv).hexdigest() == result["sha256"]
    assert len(csv) == result["bytes"]
    assert csv.count(b"\n") == result["rows"] + 1


async def test_a_finished_request_has_the_documented_shape(service: Service) -> None:
    async with service.client.post("/api/sync", json={}) as answer:
        body = await answer.json()
    id = body["id"]
    assert list(body) == MEMBERS
    assert UUID7.fullmatch(id)
    assert body["input_payload"] == {
        "report_type": "trial_balance",
        "ledger": "demo",
        "from": "2025-01-01",
        "to": "2026-01-01",
    }
    assert body["callback_url"] is body["callback_status"] is body["error"] is body["idempotency_key"] is None
    assert body["callback_attempts"] == 0
    assert body["links"] == {
        "self": f"/api/requests/{id}",
        "report": f"/api/reports/{id}.csv",
        "callback_logs": f"/api/requests/{id}/callback-logs",
    }
    result = body["result_payload"]
    assert result["file"] == f"{id}.csv"
    assert result["report_type"] == "trial_balance"
    assert (result["currency"], result["exponent"]) == ("EUR", 2)
    assert (result["from"], result["to"]) == ("2025-01-01", "2026-01-01")
    assert {"name": "debits_equal_credits", "ok": True} in result["checks"]
    assert all(check["ok"] for check in result["checks"])
    assert result["timings_ms"].keys() == {"queue", "service", "total"}
    assert all(isinstance(value, int) for value in result["totals"].values())
    times = [body[name] for name in ("created_at", "started_at", "completed_at")]
    assert all(time.endswith("Z") for time in times)
    assert [datetime.fromisoformat(time) for time in times] == sorted(datetime.fromisoformat(time) for time in times)


async def test_sync_is_what_the_request_shows_afterwards(service: Service) -> None:
    async with service.client.post("/api/sync") as answer:
        answered = await answer.json()
    assert await read(service, answered["links"]["self"]) == answered


async def test_no_body_and_an_empty_object_ask_for_the_same(service: Service) -> None:
    hashes = set()
    for body in (None, {}, {"report_type": "trial_balance", "ledger": "demo"}):
        async with service.client.post("/api/sync", json=body) as answer:  # None sends no body
            assert answer.status == 200
            hashes.add((await answer.json())["result_payload"]["sha256"])
    assert len(hashes) == 1


async def test_a_report_counts_only_its_interval(service: Service) -> None:
    def body(first: str, after: str) -> dict[str, str]:
        return {"from": first, "to": after}

    debits = []
    for interval in (body("2025-01-01", "2025-07-01"), body("2025-07-01", "2026-01-01"), {}):
        async with service.client.post("/api/sync", json=interval) as answer:
            debits.append((await answer.json())["result_payload"]["totals"]["period_debit"])
    assert debits[0] + debits[1] == debits[2]


async def test_dates_outside_the_ledger_are_an_empty_report(service: Service) -> None:
    async with service.client.post("/api/sync", json={"from": "1999-01-01", "to": "2000-01-01"}) as answer:
        assert answer.status == 200
        result = (await answer.json())["result_payload"]
    assert result["rows"] == 0
    assert set(result["totals"].values()) == {0}


async def test_async_accepts_after_the_commit_and_says_where_to_look(service: Service, connection: Connection) -> None:
    async with service.client.post("/api/async") as answer:
        assert answer.status == 202
        body = await answer.json()
        stored = await connection.fetchval("SELECT count(*) FROM requests WHERE id = $1", body["id"])
        assert answer.headers["Location"] == f"/api/requests/{body['id']}" == body["links"]["self"]
        assert int(answer.headers["Retry-After"]) >= 1
    assert stored == 1
    assert list(body) == MEMBERS
    assert (body["mode"], body["status"]) == ("async", "PENDING")
    assert body["result_payload"] is body["completed_at"] is body["links"]["report"] is None


async def test_async_work_ends_without_anyone_waiting(service: Service) -> None:
    async with service.client.post("/api/async") as answer:
        body = await answer.json()
    ended = await service.ended(body["id"])
    assert ended["status"] == "COMPLETED"
    assert ended["callback_status"] is None
    assert ended["links"] == {**body["links"], "report": f"/api/reports/{body['id']}.csv"}


async def test_sync_and_async_make_the_same_bytes(service: Service) -> None:
    async with service.client.post("/api/sync") as answer:
        blocking = await answer.json()
    async with service.client.post("/api/async") as answer:
        later = await service.ended((await answer.json())["id"])
    assert isinstance(later["result_payload"], dict)
    assert later["result_payload"]["sha256"] == blocking["result_payload"]["sha256"]


async def test_a_slot_is_held_for_the_service_time_asked_for(service: Service) -> None:
    async with service.client.post("/api/sync", json=held_for(200)) as answer:
        body = await answer.json()
    assert 200 <= body["result_payload"]["timings_ms"]["service"] < 400
    assert body["input_payload"]["simulate"]["service_time"] == {
        "distribution": "fixed",
        "mean_ms": 200,
    }


async def test_a_seed_not_given_is_drawn_and_stored(service: Service) -> None:
    async with service.client.post("/api/sync", json={**TINY, "simulate": {"failure_rate": 0}}) as answer:
        simulate = (await answer.json())["input_payload"]["simulate"]
    assert 0 <= simulate["seed"] < 2**31


async def test_a_report_that_fails_is_a_problem_for_sync_and_a_state_for_async(service: Service) -> None:
    async with service.client.post("/api/sync", json=FAILING) as answer:
        assert answer.status == 500
        assert answer.content_type == "application/problem+json"
        problem = await answer.json()
    assert problem["type"] == "/problems/report-failed"
    assert problem["simulated"] is True
    failed = await service.ended(problem["id"])
    assert failed["status"] == "FAILED"
    assert isinstance(failed["error"], dict)
    assert failed["error"]["type"] == "/problems/report-failed"
    assert failed["result_payload"] is None

    later = await submit(service, "/api/async", FAILING)
    await service.ended(later)
    assert (await read(service, f"/api/requests/{later}"))["status"] == "FAILED"


async def test_no_slot_in_time_is_503_and_the_row_has_failed(settings: Settings) -> None:
    async with serving(replace(settings, workers=1, sync_timeout=0.1)) as service:
        holder = await submit(service, "/api/async", held_for(60_000))
        await processing(service, holder)
        headers = {"X-Idempotency-Key": "again"}
        async with service.client.post("/api/sync", json=TINY, headers=headers) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
            problem = await answer.json()
        assert problem["type"] == "/problems/no-capacity"
        row = await read(service, problem["instance"])
        assert row["status"] == "FAILED"
        assert row["error"]["type"] == "/problems/no-capacity"

        async with service.client.post(f"/api/requests/{holder}/cancel") as answer:
            assert answer.status == 200
        # The key is free again, and so is the slot.
        async with service.client.post("/api/sync", json=TINY, headers=headers) as answer:
            assert answer.status == 200
            assert (await answer.json())["id"] != row["id"]


async def test_a_client_that_leaves_drops_its_waiting_and_not_the_work(service: Service) -> None:
    waiting = asyncio.create_task(service.client.post("/api/sync", json=held_for(200)))
    (id,) = await until(lambda: listed(service))
    waiting.cancel()
    ended = await service.ended(id)
    assert ended["status"] == "COMPLETED"
