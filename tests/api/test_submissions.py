"""POST /api/sync and /api/async."""

import asyncio
import hashlib

from tests.conftest import Service


async def test_sync_answers_with_the_finished_report(service: Service) -> None:
    async with service.client.post("/api/sync") as answer:
        assert answer.status == 200
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


async def test_failures_are_retried_until_the_receiver_accepts(service: Service) -> None:
    async with service.client.post("/api/callbacks/simulate-failures", json={"failures": 2}) as answer:
        assert answer.status == 202
        body = await answer.json()
    ended = await service.ended(body["id"])
    assert ended["callback_status"] == "SUCCESS"
    assert ended["callback_attempts"] == 3
    async with service.client.get(f"/api/requests/{body['id']}/callback-logs") as answer:
        logs = (await answer.json())["items"]
    assert [(log["attempt_number"], log["status_code"], log["success"]) for log in logs] == [
        (1, 503, False),
        (2, 503, False),
        (3, 200, True),
    ]


async def test_one_key_is_executed_once(service: Service) -> None:
    headers = {"X-Idempotency-Key": "once"}

    async def post() -> tuple[int, bytes]:
        async with service.client.post("/api/sync", headers=headers) as answer:
            return answer.status, await answer.read()

    first = await post()
    answers = await asyncio.gather(*(post() for _ in range(5)))
    assert first[0] == 200
    assert set(answers) == {first}
