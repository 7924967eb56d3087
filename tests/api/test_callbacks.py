"""Callbacks to a receiver outside: signed, retried, logged, and repeated when asked to."""

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.callback_policy.urls import REFUSED_PORTS, CallbackTarget
from reportsim.settings import Settings
from tests.api.calls import FAILING, TINY, UNKNOWN, listed, logs_of, submit, until
from tests.conftest import Service, serving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEWER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
LOOPBACK = AllowList.parse("127.0.0.0/8")
REFUSED = [
    ("http://localhost/hook", "localhost"),
    ("http://LOCALHOST.:8000/hook", "localhost"),
    ("http://api.localhost/hook", "localhost"),
    ("http://127.0.0.1/hook", "loopback"),
    ("http://127.1/hook", "numeric-host"),
    ("http://2130706433/hook", "numeric-host"),
    ("http://0x7f.0.0.1/hook", "numeric-host"),
    ("http://0.0.0.0/hook", "unspecified"),
    ("http://[::1]/hook", "loopback"),
    ("http://[::ffff:127.0.0.1]/hook", "ipv4-mapped"),
    ("http://10.0.0.1/hook", "private"),
    ("https://172.16.5.4/hook", "private"),
    ("http://192.168.0.1/hook", "private"),
    ("http://[fd12::1]/hook", "private"),
    ("http://100.64.0.1/hook", "cgnat"),
    ("http://169.254.169.254/latest/meta-data/", "metadata"),
    ("http://[fd00:ec2::254]/", "metadata"),
    ("http://168.63.129.16/", "metadata"),
    ("http://169.254.1.1/", "link-local"),
    ("http://router/hook", "single-label"),
    ("ftp://example.com/hook", "scheme"),
    ("javascript:alert(1)", "scheme"),
    ("//example.com/hook", "scheme"),
    ("http://user:pass@example.com/hook", "userinfo"),
    ("http://example.com\\@127.0.0.1/", "backslash"),
    ("http://exa mple.com/", "forbidden-character"),
    ("http://example.com:22/hook", "port-refused"),
    ("http://example.com:5432/hook", "port-refused"),
    ("http://example.com:0/hook", "bad-port"),
    ("http://", "empty-host"),
]
NEVER_OPENED = [
    ("http://169.254.169.254/latest/meta-data/", "metadata"),
    ("http://[fd00:ec2::254]/", "metadata"),
    ("http://169.254.1.1/", "link-local"),
    ("http://[::ffff:127.0.0.1]/", "ipv4-mapped"),
    ("http://hooks.localhost/", "localhost"),
]


@dataclass
class Arrival:
    """One POST as the receiver got it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """A webhook receiver of somebody else: plays the answers it was given, then accepts."""

    url: str
    answers: list[web.Response | float] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.arrivals.append(Arrival(request.path_qs, headers, await request.read()))
        answer = self.answers.pop(0) if self.answers else web.Response(status=204)
        if isinstance(answer, web.Response):
            return answer
        await asyncio.sleep(answer)
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    while True:
        listening = socket.create_server(("127.0.0.1", 0))
        if (port := listening.getsockname()[1]) not in REFUSED_PORTS:
            break
        listening.close()
    made = Receiver(f"http://127.0.0.1:{port}/hooks/reports?tenant=7")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.receive)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    yield made
    await runner.cleanup()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, callback_allow=LOOPBACK, webhook_secret=(SECRET,))


async def order(service: Service, url: str, body: dict[str, Any] = TINY) -> str:
    """Submits a report that is called back, and returns its id."""
    return await submit(service, "/api/async", {**body, "callback_url": url})


async def test_a_callback_is_pending_from_the_acceptance_on(service: Service, receiver: Receiver) -> None:
    async with service.client.post("/api/async", json={**TINY, "callback_url": receiver.url}) as answer:
        accepted = await answer.json()
    assert accepted["callback_url"] == receiver.url
    assert (accepted["callback_status"], accepted["callback_attempts"]) == ("PENDING", 0)


async def test_an_ended_report_is_announced_once_and_signed(service: Service, receiver: Receiver) -> None:
    id = await order(service, receiver.url)
    ended = await service.ended(id)
    assert (ended["callback_status"], ended["callback_attempts"]) == ("SUCCESS", 1)
    (arrival,) = receiver.arrivals
    assert arrival.path == "/hooks/reports?tenant=7"
    assert arrival.headers["content-type"] == "application/json"
    assert arrival.headers["webhook-attempt"] == "1"
    assert abs(int(arrival.headers["webhook-timestamp"]) - time.time()) < 10
    Webhook(SECRET).verify(arrival.body.decode(), arrival.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEWER_SECRET).verify(arrival.body.decode(), arrival.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(arrival.body.decode().replace("tiny", "demo"), arrival.headers)


async def test_the_body_is_an_event_with_the_request_and_absolute_links(service: Service, receiver: Receiver) -> None:
    id = await order(service, receiver.url)
    ended = await service.ended(id)
    event = receiver.arrivals[0].json
    assert list(event) == ["type", "timestamp", "data"]
    assert event["type"] == "report.completed"
    assert event["timestamp"] == ended["completed_at"]
    links = {name: f"{service.url}{path}" for name, path in dict[str, str](ended["links"]).items()}  # type: ignore[call-overload]
    # What the callback cannot know is how it will end itself.
    assert event["data"] == {**ended, "links": links, "callback_status": "PENDING", "callback_attempts": 0}
    async with service.client.get(event["data"]["links"]["report"]) as answer:
        assert answer.status == 200
        await answer.read()


async def test_links_start_with_the_public_url(settings: Settings, receiver: Receiver) -> None:
    async with serving(replace(settings, public_url="https://reports.example.org")) as service:
        id = await order(service, receiver.url)
        await service.ended(id)
    assert receiver.arrivals[0].json["data"]["links"]["self"] == f"https://reports.example.org/api/requests/{id}"


async def test_a_failed_report_is_announced_too(service: Service, receiver: Receiver) -> None:
    id = await order(service, receiver.url, FAILING)
    ended = await service.ended(id)
    assert (ended["status"], ended["callback_status"]) == ("FAILED", "SUCCESS")
    event = receiver.arrivals[0].json
    assert event["type"] == "report.failed"
    assert event["data"]["error"]["type"] == "/problems/report-failed"
    assert event["data"]["links"]["report"] is None


async def test_every_attempt_has_the_same_id_and_body_and_its_own_number(service: Service, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=500, text="not today"), web.Response(status=404)]
    id = await order(service, receiver.url)
    ended = await service.ended(id)
    assert (ended["callback_status"], ended["callback_attempts"]) == ("SUCCESS", 3)
    assert [arrival.headers["webhook-attempt"] for arrival in receiver.arrivals] == ["1", "2", "3"]
    assert len({arrival.headers["webhook-id"] for arrival in receiver.arrivals}) == 1
    assert len({arrival.body for arrival in receiver.arrivals}) == 1
    for arrival in receiver.arrivals:
        Webhook(SECRET).verify(arrival.body.decode(), arrival.headers)

    logs = await logs_of(service, id)
    assert [(log["attempt_number"], log["status_code"], log["success"]) for log in logs] == [
        (1, 500, False),
        (2, 404, False),
        (3, 204, True),
    ]
    assert {log["request_id"] for log in logs} == {id}
    assert {log["series"] for log in logs} == {1}
    assert {log["remote_ip"] for log in logs} == {"127.0.0.1"}
    assert len({log["id"] for log in logs}) == 3
    assert logs[0]["response_excerpt"] == "not today"
    assert "500" in logs[0]["error_message"]
    assert logs[2]["error_message"] is None
    assert all(log["response_time_ms"] > 0 for log in logs)


async def test_the_waits_between_attempts_are_those_of_the_settings(service: Service, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=503) for _ in range(2)]
    id = await order(service, receiver.url)
    await service.ended(id)
    logs = await logs_of(service, id)
    attempted = [datetime.fromisoformat(log["attempted_at"]) for log in logs]
    due = [log["next_attempt_at"] and datetime.fromisoformat(log["next_attempt_at"]) for log in logs]
    assert due[2] is None
    for number, wait in enumerate((0.05, 0.1)):
        assert wait <= (due[number] - attempted[number]).total_seconds() < wait + 0.5
        assert attempted[number + 1] >= due[number]


@pytest.mark.parametrize(("drawn", "wait"), [(0.0, 15), (0.5, 30), (1.0, 45)])
async def test_a_wait_varies_by_its_jitter(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, drawn: float, wait: float
) -> None:
    monkeypatch.setattr(random, "random", lambda: drawn)
    receiver.answers = [web.Response(status=503)]
    async with serving(replace(settings, callback_waits=(30,), callback_jitter=0.5)) as service:
        id = await order(service, receiver.url)
        logs = await until(lambda: logs_of(service, id))
    attempted, due = (datetime.fromisoformat(logs[0][name]) for name in ("attempted_at", "next_attempt_at"))
    assert wait <= (due - attempted).total_seconds() < wait + 0.5


async def test_by_default_the_first_retry_comes_two_seconds_later(settings: Settings, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=503)]
    async with serving(replace(settings, callback_waits=Settings().callback_waits)) as service:
        id = await order(service, receiver.url)
        logs = await until(lambda: logs_of(service, id))
    attempted, due = (datetime.fromisoformat(logs[0][name]) for name in ("attempted_at", "next_attempt_at"))
    assert 2 <= (due - attempted).total_seconds() < 3
    assert Settings().callback_waits == (2, 4, 8)
    assert Settings().callback_attempts == 3


async def test_the_last_failure_is_final(service: Service, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=500) for _ in range(4)]
    id = await order(service, receiver.url)
    ended = await service.ended(id)
    assert (ended["status"], ended["callback_status"], ended["callback_attempts"]) == ("COMPLETED", "FAILED", 3)
    logs = await logs_of(service, id)
    assert len(logs) == len(receiver.arrivals) == 3
    assert logs[-1]["next_attempt_at"] is None


async def test_gone_ends_the_series_at_once(service: Service, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=410)]
    id = await order(service, receiver.url)
    ended = await service.ended(id)
    assert (ended["callback_status"], ended["callback_attempts"]) == ("FAILED", 1)
    assert len(receiver.arrivals) == 1


async def test_a_redirect_is_a_failure_and_never_followed(service: Service, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=302, headers={"Location": "/elsewhere"}), web.Response(status=200)]
    id = await order(service, receiver.url)
    await service.ended(id)
    assert [log["status_code"] for log in await logs_of(service, id)] == [302, 200]
    assert {arrival.path for arrival in receiver.arrivals} == {"/hooks/reports?tenant=7"}


@pytest.mark.parametrize(("hint", "expected"), [("120", 120), ("0", 0.05), ("nonsense", 0.05), ("999999999", 3600)])
async def test_retry_after_lengthens_a_wait_and_never_shortens_it(
    service: Service, receiver: Receiver, hint: str, expected: float
) -> None:
    receiver.answers = [web.Response(status=503, headers={"Retry-After": hint})]
    id = await order(service, receiver.url)
    logs = await until(lambda: logs_of(service, id))
    attempted, due = (datetime.fromisoformat(logs[0][name]) for name in ("attempted_at", "next_attempt_at"))
    assert expected <= (due - attempted).total_seconds() < expected + 0.5


async def test_silence_and_refused_connections_are_failed_attempts(settings: Settings, receiver: Receiver) -> None:
    receiver.answers = [30.0]
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    async with serving(replace(settings, callback_timeout=0.2, callback_attempts=1)) as service:
        silent = await order(service, receiver.url)
        absent = await order(service, f"http://127.0.0.1:{closed}/")
        for id in (silent, absent):
            assert (await service.ended(id))["callback_status"] == "FAILED"
        (timeout,) = await logs_of(service, silent)
        (refused,) = await logs_of(service, absent)
    assert timeout["status_code"] is refused["status_code"] is None
    assert 200 <= timeout["response_time_ms"] < 1000
    assert "0.2 s" in timeout["error_message"]
    assert refused["error_message"]
    assert timeout["response_excerpt"] is refused["response_excerpt"] is None


async def test_an_endless_answer_is_read_up_to_a_bound(service: Service, receiver: Receiver) -> None:
    receiver.answers = [web.Response(body=b"a" * 1_000_000)]
    id = await order(service, receiver.url)
    assert (await service.ended(id))["callback_status"] == "SUCCESS"
    (log,) = await logs_of(service, id)
    assert len(log["response_excerpt"]) <= 1_000


async def test_during_a_rotation_either_secret_verifies(settings: Settings, receiver: Receiver) -> None:
    async with serving(replace(settings, webhook_secret=(NEWER_SECRET, SECRET))) as service:
        await service.ended(await order(service, receiver.url))
    (arrival,) = receiver.arrivals
    for secret in (SECRET, NEWER_SECRET):
        Webhook(secret).verify(arrival.body.decode(), arrival.headers)


async def test_a_callback_stays_in_the_trace_of_its_submission(service: Service, receiver: Receiver) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with service.client.post(
        "/api/async", json={**TINY, "callback_url": receiver.url}, headers=headers
    ) as answer:
        id = (await answer.json())["id"]
    await service.ended(id)
    version, found, parent, flags = receiver.arrivals[0].headers["traceparent"].split("-")
    assert (version, found, flags) == ("00", trace, "01")
    assert parent != "00f067aa0ba902b7"


async def test_a_request_without_callbacks_has_an_empty_log(service: Service) -> None:
    id = await submit(service, "/api/sync")
    assert await logs_of(service, id) == []


async def test_redelivery_is_a_new_series(service: Service, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=500) for _ in range(3)]
    id = await order(service, receiver.url)
    assert (await service.ended(id))["callback_status"] == "FAILED"
    receiver.answers = [web.Response(status=500)]
    async with service.client.post(f"/api/requests/{id}/redeliver") as answer:
        assert answer.status == 202
        assert answer.headers["Location"] == f"/api/requests/{id}"
        body = await answer.json()
    assert (body["callback_status"], body["callback_attempts"]) == ("PENDING", 0)
    ended = await service.ended(id)
    assert (ended["status"], ended["callback_status"], ended["callback_attempts"]) == ("COMPLETED", "SUCCESS", 2)
    logs = await logs_of(service, id)
    assert [(log["series"], log["attempt_number"]) for log in logs] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    ids = [arrival.headers["webhook-id"] for arrival in receiver.arrivals]
    assert set(ids) == {f"msg_{UUID(id).hex}_1"}
    stamps = {arrival.headers["webhook-signature"] for arrival in receiver.arrivals}
    assert len(stamps) >= len({arrival.headers["webhook-timestamp"] for arrival in receiver.arrivals})
    assert [arrival.headers["webhook-attempt"] for arrival in receiver.arrivals] == ["1", "2", "3", "1", "2"]
    assert len({arrival.body for arrival in receiver.arrivals}) == 1


async def test_what_was_delivered_can_be_delivered_again(service: Service, receiver: Receiver) -> None:
    id = await order(service, receiver.url)
    await service.ended(id)
    async with service.client.post(f"/api/requests/{id}/redeliver") as answer:
        assert answer.status == 202
        await answer.read()
    await service.ended(id)
    assert len(receiver.arrivals) == 2


async def test_redelivery_waits_for_the_running_series(service: Service, receiver: Receiver) -> None:
    receiver.answers = [web.Response(status=503, headers={"Retry-After": "60"})]
    id = await order(service, receiver.url)
    await until(lambda: logs_of(service, id))
    async with service.client.post(f"/api/requests/{id}/redeliver") as answer:
        assert answer.status == 409
        assert (await answer.json())["type"] == "/problems/conflict"


async def test_without_a_callback_url_there_is_nothing_to_redeliver(service: Service) -> None:
    id = await submit(service, "/api/sync")
    for path, status in ((id, 409), (UNKNOWN, 404), ("7", 404)):
        async with service.client.post(f"/api/requests/{path}/redeliver") as answer:
            assert answer.status == status
            await answer.read()


async def test_the_demo_receiver_of_the_service_itself_needs_no_permission(settings: Settings) -> None:
    async with serving(replace(settings, callback_allow=AllowList())) as service:
        id = await order(service, f"{service.url}/webhook-test/mine")
        assert (await service.ended(id))["callback_status"] == "SUCCESS"


async def test_a_callback_url_that_may_not_be_called_is_refused_with_its_reason(
    settings: Settings, subtests: pytest.Subtests
) -> None:
    async with serving(replace(settings, callback_allow=AllowList())) as service:
        for url, reason in REFUSED:
            with subtests.test(url=url):
                await refused(service, url, reason)


async def test_no_permission_opens_metadata_addresses(settings: Settings, subtests: pytest.Subtests) -> None:
    async with serving(replace(settings, callback_allow=AllowList.parse("0.0.0.0/0, ::/0"))) as service:
        for url, reason in NEVER_OPENED:
            with subtests.test(url=url):
                await refused(service, url, reason)


async def test_no_permission_opens_the_other_routes_of_the_service(service: Service, subtests: pytest.Subtests) -> None:
    for path in ("", "/", "/api/sync", "/api/events", "/webhook-test", "/webhook-test/../api/sync"):
        with subtests.test(path=path):
            await refused(service, service.url + path, "own-route")


async def test_the_way_in_that_a_proxy_gives_is_a_way_to_the_demo_receiver_alone(
    settings: Settings, subtests: pytest.Subtests
) -> None:
    for public, others in {
        "https://reports.example.org": [
            "https://reports.example.org:8443/api/sync",
            "http://reports.example.org/api/sync",
        ],
        "http://[2606:4700:0::1111]:8080": ["http://[2606:4700::1111]:8081/", "http://[2606:4700::1112]:8080/"],
    }.items():
        async with serving(replace(settings, public_url=public, callback_allow=AllowList())) as service:
            check = service.engine.guard.check_url
            for path in ("", "/", "/api/sync", "/webhook-test", "/webhook-test/../api/sync", "/webhook-test/%2e%2e/x"):
                with subtests.test(public=public, path=path):
                    await refused(service, public + path, "own-route")
            with subtests.test(public=public):
                await refused(service, public.upper().replace("HTTPS:", "https:") + "/api/sync", "own-route")
                assert isinstance(check(f"{public}/webhook-test/mine?script=503"), CallbackTarget)
                assert all(isinstance(check(other), CallbackTarget) for other in others)


async def refused(service: Service, url: str, reason: str) -> None:
    async with service.client.post("/api/async", json={**TINY, "callback_url": url}) as answer:
        problem = await answer.json()
        assert answer.status == 422, problem
    (error,) = problem["errors"]
    assert (error["pointer"], error["reason"]) == ("#/callback_url", reason)
    assert error["detail"]
    assert await listed(service) == []
