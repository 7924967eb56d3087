"""POST /api/callbacks/simulate-failures and the demo receiver that it calls."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from reportsim.demo_receiver.handlers import STORED_BODY_BYTES, STORED_HEADERS, STORED_VALUE_LENGTH
from reportsim.settings import Settings
from tests.api.calls import TINY, logs_of, read, until
from tests.conftest import Service, serving
from tests.pages.test_pages import get_page
from tests.web.raw import exchange

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# More than an answer takes on a busy machine, where an attempt would otherwise fail for another reason.
SHORT_S = 1.0


async def simulate(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    """The request when it has ended, callback and all."""
    async with service.client.post("/api/callbacks/simulate-failures", json={**TINY, **body}) as answer:
        assert answer.status == 202
        accepted = await answer.json()
        assert answer.headers["Location"] == f"/api/requests/{accepted['id']}"
    assert accepted["mode"] == "async"
    assert accepted["callback_status"] == "PENDING"
    return dict(await service.ended(accepted["id"]))


async def inbox(service: Service, name: str) -> list[dict[str, Any]]:
    body = await read(service, f"/webhook-test/{name}")
    assert body["inbox"] == name
    items: list[dict[str, Any]] = body["items"]
    return items


async def test_two_failures_by_default_and_then_success(service: Service) -> None:
    ended = await simulate(service, {})
    assert (ended["status"], ended["callback_status"], ended["callback_attempts"]) == ("COMPLETED", "SUCCESS", 3)
    logs = await logs_of(service, ended["id"])
    assert [(log["attempt_number"], log["status_code"], log["success"]) for log in logs] == [
        (1, 503, False),
        (2, 503, False),
        (3, 200, True),
    ]


async def test_three_failures_are_the_end(service: Service) -> None:
    ended = await simulate(service, {"failures": 3})
    assert (ended["status"], ended["callback_status"], ended["callback_attempts"]) == ("COMPLETED", "FAILED", 3)
    logs = await logs_of(service, ended["id"])
    assert [(log["attempt_number"], log["success"]) for log in logs] == [(1, False), (2, False), (3, False)]


@pytest.mark.slow
async def test_by_default_the_attempts_are_two_and_four_seconds_apart(settings: Settings) -> None:
    async with serving(replace(settings, callback_waits=Settings().callback_waits)) as service:
        ended = await simulate(service, {})
        times = [datetime.fromisoformat(log["attempted_at"]) for log in await logs_of(service, ended["id"])]
    assert [round((later - earlier).total_seconds()) for earlier, later in itertools.pairwise(times)] == [2, 4]


async def test_no_failures_are_a_plain_success(service: Service) -> None:
    ended = await simulate(service, {"failures": 0})
    assert (ended["callback_status"], ended["callback_attempts"]) == ("SUCCESS", 1)


async def test_the_status_can_be_chosen(service: Service) -> None:
    ended = await simulate(service, {"failures": 1, "status_code": 418})
    assert [log["status_code"] for log in await logs_of(service, ended["id"])] == [418, 200]


@pytest.mark.parametrize(
    ("fault", "status_code", "reason"),
    [("timeout", None, "timeout"), ("reset", None, "reset"), ("slow", 200, "timeout")],
)
async def test_a_fault_of_the_wire_is_an_attempt_that_failed(
    settings: Settings, fault: str, status_code: int | None, reason: str
) -> None:
    async with serving(replace(settings, callback_timeout=SHORT_S)) as service:
        ended = await simulate(service, {"failures": 1, "fault": fault})
        failed, accepted = await logs_of(service, ended["id"])
    assert (failed["success"], failed["status_code"], failed["reason"]) == (False, status_code, reason)
    assert failed["error_message"]
    assert accepted["success"]


async def test_a_script_is_played_step_by_step(settings: Settings) -> None:
    quick = replace(settings, callback_timeout=SHORT_S, callback_waits=(0.01,), callback_attempts=6)
    async with serving(quick) as service:
        ended = await simulate(service, {"script": ["500", "timeout", "reset", "slow", "429"]})
        logs = await logs_of(service, ended["id"])
        arrivals = await inbox(service, ended["id"])
    assert ended["callback_status"] == "SUCCESS"
    assert [log["status_code"] for log in logs] == [500, None, None, 200, 429, 200]
    assert [log["success"] for log in logs] == [False] * 5 + [True]
    assert [arrival["answer"] for arrival in arrivals] == ["500", "timeout", "reset", "slow", "429", "200"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"script": ["503"], "failures": 1}, ["failures"]),
        ({"script": [], "fault": "status", "status_code": 503}, ["fault", "status_code"]),
        (
            {"script": ["503"], "failures": 2, "fault": "reset", "status_code": 500},
            ["failures", "fault", "status_code"],
        ),
        ({"fault": "timeout", "status_code": 503}, ["status_code"]),
        ({"fault": "slow", "status_code": 200, "ledger": 7}, ["ledger", "status_code"]),
    ],
)
async def test_what_contradicts_itself_is_refused(service: Service, body: Any, named: list[str]) -> None:
    async with service.client.post("/api/callbacks/simulate-failures", json=body) as answer:
        assert answer.status == 422
        pointers = [error["pointer"] for error in (await answer.json())["errors"]]
    assert sorted(pointers) == [f"#/{name}" for name in named]


async def test_a_status_may_be_said_with_its_fault(service: Service) -> None:
    ended = await simulate(service, {"failures": 1, "fault": "status", "status_code": 418})
    assert ended["callback_attempts"] == 2


async def test_a_script_that_accepts_ends_there(service: Service) -> None:
    ended = await simulate(service, {"script": ["503", "200", "503"]})
    assert (ended["callback_status"], ended["callback_attempts"]) == ("SUCCESS", 2)


async def test_the_inbox_shows_what_arrived_and_that_it_was_signed(service: Service) -> None:
    ended = await simulate(service, {"failures": 2})
    arrivals = await inbox(service, ended["id"])
    assert len(arrivals) == 3
    for number, arrival in enumerate(arrivals, start=1):
        assert list(arrival) == [
            *("received_at", "since_accepted_ms", "headers", "body", "verified", "duplicate", "answer"),
        ]
        since = datetime.fromisoformat(arrival["received_at"]) - datetime.fromisoformat(ended["created_at"])
        assert arrival["since_accepted_ms"] == pytest.approx(since.total_seconds() * 1000, abs=1)
        assert arrival["verified"] is True
        assert arrival["duplicate"] is False
        assert arrival["headers"]["webhook-attempt"] == str(number)
        assert arrival["headers"]["webhook-signature"].startswith("v1,")
        event = json.loads(arrival["body"])
        assert event["type"] == "report.completed"
        assert event["data"]["id"] == ended["id"]
    assert len({arrival["headers"]["webhook-id"] for arrival in arrivals}) == 1


async def test_another_replica_plays_the_script_on(settings: Settings) -> None:
    """It is in the URL, and the number of the attempt picks the step: nothing has to be remembered."""
    patient = replace(settings, callback_waits=(3, 0.1), callback_attempts=4)
    async with serving(patient) as second:
        second.engine.worker.draining = True  # so that the first attempt is of the first one
        async with serving(patient) as first:
            script = {**TINY, "script": ["503", "404", "reset"]}
            async with first.client.post("/api/callbacks/simulate-failures", json=script) as answer:
                id = (await answer.json())["id"]
            await until(lambda: logs_of(second, id))
            assert [arrival["answer"] for arrival in await inbox(first, id)] == ["503"]
        ended = await second.ended(id, timeout=30)
        arrivals = await inbox(second, id)
        logs = await logs_of(second, id)
    assert (ended["callback_status"], ended["callback_attempts"]) == ("SUCCESS", 4)
    # A kept connection that is reset without a byte of an answer may have been closed before: it is dialled anew once.
    assert [arrival["answer"] for arrival in arrivals] == ["404", "reset", "reset", "200"]
    assert [arrival["headers"]["webhook-attempt"] for arrival in arrivals] == ["2", "3", "3", "4"]
    assert all(arrival["verified"] for arrival in arrivals)
    assert [log["status_code"] for log in logs] == [503, 404, None, 200]


async def test_a_callback_that_hangs_delays_none_to_another_inbox(settings: Settings) -> None:
    async with serving(replace(settings, callback_timeout=30, shutdown_grace_s=0.1)) as service:
        hanging = {**TINY, "failures": 1, "fault": "timeout"}
        for _ in range(3):
            async with service.client.post("/api/callbacks/simulate-failures", json=hanging) as answer:
                await answer.read()
        assert (await simulate(service, {"failures": 0}))["callback_status"] == "SUCCESS"


async def test_a_redelivery_plays_the_script_again(service: Service) -> None:
    ended = await simulate(service, {"script": ["503"]})
    async with service.client.post(f"/api/requests/{ended['id']}/redeliver") as answer:
        assert answer.status == 202
        await answer.read()
    await service.ended(str(ended["id"]))
    assert [arrival["answer"] for arrival in await inbox(service, str(ended["id"]))] == ["503", "200", "503", "200"]


async def test_an_inbox_that_got_nothing_is_empty(service: Service) -> None:
    assert await inbox(service, "nothing-yet") == []


def signed(message_id: str, body: str, attempt: int = 1) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(message_id, now, body),
        "webhook-attempt": str(attempt),
        "Content-Type": "application/json",
    }


async def test_the_inbox_tells_duplicates_and_forgeries(settings: Settings) -> None:
    async with serving(replace(settings, webhook_secret=(SECRET,))) as service:
        path = "/webhook-test/mine"
        good = signed("msg_1", "{}")
        for headers, body in [
            (good, "{}"),
            (good, "{}"),  # a sender that missed the first answer
            (signed("msg_2", "{}"), "{}"),
            (signed("msg_3", "{}"), '{"forged": true}'),
            ({}, "{}"),
        ]:
            async with service.client.post(path, data=body, headers=headers) as answer:
                assert answer.status == 200
                await answer.read()
        arrivals = await inbox(service, "mine")
    assert [arrival["verified"] for arrival in arrivals] == [True, True, True, False, False]
    assert [arrival["duplicate"] for arrival in arrivals] == [False, True, False, False, False]


async def test_the_attempt_number_alone_picks_the_step(service: Service) -> None:
    for attempt, status in ((2, 404), (1, 503), (3, 200), (2, 404), (99, 200)):
        headers = {"webhook-attempt": str(attempt)}
        async with service.client.post("/webhook-test/stateless?script=503,404", headers=headers) as answer:
            assert answer.status == status
            await answer.read()


async def test_a_script_that_cannot_be_played_is_refused(service: Service, subtests: pytest.Subtests) -> None:
    for script in ["99", "600", "nonsense", "503;404", "503,", ",503", "503\n", ",".join(["503"] * 101)]:
        with subtests.test(script=script):
            async with service.client.post("/webhook-test/mine", params={"script": script}) as answer:
                assert answer.status == 422
                assert [error["parameter"] for error in (await answer.json())["errors"]] == ["script"]
            assert await inbox(service, "mine") == []


async def test_an_inbox_has_a_plain_name(service: Service, subtests: pytest.Subtests) -> None:
    for name in ["a.b", "a b", "x" * 65, "größer"]:
        with subtests.test(name=name):
            for method in ("GET", "POST"):
                async with service.client.request(method, f"/webhook-test/{name}") as answer:
                    assert answer.status == 404
                    await answer.read()


async def test_an_inbox_keeps_the_last_arrivals_only(service: Service) -> None:
    for number in range(60):
        async with service.client.post("/webhook-test/busy", headers={"webhook-id": f"msg_{number}"}) as answer:
            await answer.read()
    arrivals = await inbox(service, "busy")
    assert len(arrivals) == 50
    assert arrivals[-1]["headers"]["webhook-id"] == "msg_59"


async def test_an_inbox_keeps_a_part_of_what_is_long(service: Service) -> None:
    headers = {f"webhook-{number}": "x" * 1_200 for number in range(90)}
    async with service.client.post("/webhook-test/long", data="y" * 100_000, headers=headers) as answer:
        assert answer.status == 200
        await answer.read()
    [arrival] = await inbox(service, "long")
    assert len(arrival["body"]) == STORED_BODY_BYTES
    assert len(arrival["headers"]) == STORED_HEADERS
    assert max(map(len, arrival["headers"].values())) == STORED_VALUE_LENGTH


async def test_a_header_that_is_no_utf_8_is_kept_as_far_as_it_can_be_read(service: Service) -> None:
    head = b"POST /webhook-test/raw HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
    reply = await exchange(service.url, head + b"webhook-id: a\xe4\xff\r\nContent-Note: \xc3\xa4\r\n\r\n")
    assert reply.status == 200
    [arrival] = await inbox(service, "raw")
    assert arrival["headers"]["webhook-id"] == "a\ufffd\ufffd"
    assert arrival["headers"]["content-note"] == "ä"
    assert "a\ufffd\ufffd" in await get_page(service, "/webhook-test/raw")


async def test_a_body_that_nobody_signed_is_not_believed(service: Service) -> None:
    for body in ('{"data": {"created_at": "2020-01-01T00:00:00Z"}}', "[" * 100_000, "\xff"):
        async with service.client.post("/webhook-test/mine", data=body.encode("latin-1")) as answer:
            assert answer.status == 200
            await answer.read()
    assert [arrival["since_accepted_ms"] for arrival in await inbox(service, "mine")] == [None] * 3


class TestPage:
    async def test_a_browser_gets_a_page(self, service: Service) -> None:
        ended = await simulate(service, {"failures": 1})
        text = await get_page(service, f"/webhook-test/{ended['id']}")
        assert text.count("verified") == 2
        assert "2 callbacks" in text
        assert "webhook-signature: v1," in text
        assert "report.completed" in text
        assert 'data-events="/api/events?last_event_id=' in text
        assert f'data-live="/webhook-test/{ended["id"]}?fragment=inbox"' in text

    async def test_its_live_part_comes_alone(self, service: Service) -> None:
        async with service.client.get("/webhook-test/mine?fragment=inbox") as answer:
            text = await answer.text()
        assert text.lstrip().startswith('<article id="inbox"')
        assert "This replica has received nothing here" in text

    async def test_json_can_be_asked_for_all_the_same(self, service: Service) -> None:
        for query, accept in (("", "*/*"), ("", "application/json"), ("?format=json", "text/html")):
            async with service.client.get(f"/webhook-test/mine{query}", headers={"Accept": accept}) as answer:
                assert await answer.json() == {"inbox": "mine", "items": []}
                assert answer.headers["Vary"] == "Accept"

    async def test_what_arrived_is_text_and_nothing_else(self, service: Service) -> None:
        headers = {"webhook-id": "</pre><script>alert(1)</script>", "webhook-attempt": '"><b onclick=x>'}
        script = "<script>alert(2)</script>"
        async with service.client.post("/webhook-test/evil", data=script, headers=headers) as answer:
            await answer.read()
        text = await get_page(service, "/webhook-test/evil")
        assert "<script>alert" not in text
        assert "<b onclick" not in text
        assert "not verified" in text
