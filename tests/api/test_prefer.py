"""Prefer (RFC 7240): the client says whether it would rather wait, and how long."""

import itertools
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from reportsim.settings import Settings
from reportsim.web.prefer import MAX_CHARACTERS, Preferences, parse_prefer
from tests.api.calls import FAILING, TINY, held_for, read, submit
from tests.conftest import Service, serving

SYNC = "/api/sync"
ASYNC = "/api/async"


async def post(
    service: Service, path: str, prefer: str, body: Any = TINY, **headers: str
) -> tuple[int, Any, str | None]:
    """Status, body, and which preferences were followed."""
    async with service.client.post(path, json=body, headers={"Prefer": prefer, **headers}) as answer:
        return answer.status, await answer.json(), answer.headers.get("Preference-Applied")


async def test_sync_answers_early_when_that_is_preferred(service: Service) -> None:
    async with service.client.post(SYNC, json=TINY, headers={"Prefer": "respond-async"}) as answer:
        assert answer.status == 202
        assert answer.headers["Preference-Applied"] == "respond-async"
        body = await answer.json()
        assert answer.headers["Location"] == f"/api/requests/{body['id']}"
        assert int(answer.headers["Retry-After"]) >= 1
    assert (body["mode"], body["status"]) == ("async", "PENDING")
    assert (await service.ended(body["id"]))["status"] == "COMPLETED"


async def test_async_waits_when_that_is_preferred(service: Service) -> None:
    status, body, applied = await post(service, ASYNC, "wait=5")
    assert (status, body["mode"], body["status"], applied) == (200, "async", "COMPLETED", "wait=5")
    assert body == await read(service, f"/api/requests/{body['id']}")


async def test_a_failed_request_is_a_state_even_when_it_was_waited_for(service: Service) -> None:
    status, body, _ = await post(service, ASYNC, "wait=5", FAILING)
    assert (status, body["status"]) == (200, "FAILED")


async def test_a_wait_that_is_too_short_is_202_as_usual(service: Service) -> None:
    started = time.monotonic()
    status, body, applied = await post(service, ASYNC, "wait=1", held_for(60_000))
    assert 1 <= time.monotonic() - started < 2
    assert (status, body["status"], applied) == (202, "PENDING", "wait=1")
    async with service.client.post(f"/api/requests/{body['id']}/cancel") as answer:
        assert answer.status == 200
        await answer.read()


async def test_both_together_wait_and_then_answer_early(service: Service) -> None:
    status, body, applied = await post(service, SYNC, "respond-async, wait=5")
    assert (status, body["mode"], body["status"]) == (200, "async", "COMPLETED")
    assert applied == "respond-async, wait=5"


async def test_reading_one_request_can_wait_for_its_end(service: Service) -> None:
    id = await submit(service, ASYNC, held_for(200))
    async with service.client.get(f"/api/requests/{id}", headers={"Prefer": "wait=5"}) as answer:
        assert answer.status == 200
        assert answer.headers["Preference-Applied"] == "wait=5"
        assert "Retry-After" not in answer.headers
        assert (await answer.json())["status"] == "COMPLETED"


async def test_what_has_ended_is_not_waited_for(service: Service) -> None:
    id = await submit(service, SYNC)
    started = time.monotonic()
    async with service.client.get(f"/api/requests/{id}", headers={"Prefer": "wait=20"}) as answer:
        assert (await answer.json())["status"] == "COMPLETED"
    assert time.monotonic() - started < 1


async def test_the_key_of_an_early_answer_is_that_of_its_endpoint(service: Service) -> None:
    key = {"X-Idempotency-Key": "once"}
    _, first, _ = await post(service, SYNC, "respond-async", **key)
    for prefer in ("respond-async", "", "wait=5"):
        async with service.client.post(SYNC, json=TINY, headers={"Prefer": prefer, **key}) as answer:
            assert answer.status == 202
            assert answer.headers["Idempotent-Replayed"] == "true"
            assert await answer.json() == first
    async with service.client.post(ASYNC, json=TINY, headers=key) as answer:
        assert answer.status == 422
        await answer.read()


async def test_an_answer_that_waited_is_not_what_is_replayed(service: Service) -> None:
    key = {"X-Idempotency-Key": "once"}
    status, ended, _ = await post(service, ASYNC, "wait=5", **key)
    assert status == 200
    status, replayed, _ = await post(service, ASYNC, "", **key)
    assert (status, replayed["status"]) == (202, "PENDING")
    assert replayed["id"] == ended["id"]


async def test_an_early_answer_costs_the_quota_of_sync(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=1)) as service:
        assert (await post(service, SYNC, "respond-async"))[0] == 202
        assert (await post(service, SYNC, "respond-async"))[0] == 429
        assert (await post(service, ASYNC, "wait=5"))[0] == 200


async def test_an_early_answer_still_takes_no_callback_url(service: Service) -> None:
    body = {**TINY, "callback_url": f"{service.url}/webhook-test/inbox"}
    status, problem, _ = await post(service, SYNC, "respond-async", body)
    assert status == 422
    assert [error["pointer"] for error in problem["errors"]] == ["#/callback_url"]


async def test_preferences_that_are_unknown_or_malformed_are_ignored(
    service: Service, subtests: pytest.Subtests
) -> None:
    for prefer in ("", ",", "wait", "wait=soon", "wait=-1", "wait=1.5", "handling=strict", 'x="', "respond-asyncly"):
        with subtests.test(prefer=prefer):
            status, body, applied = await post(service, SYNC, prefer)
            assert (status, body["mode"], body["status"], applied) == (200, "sync", "COMPLETED", None)


@pytest.fixture
def bounded() -> Iterator[None]:
    """Ends a search that would take for ever; the regular expressions look for signals while they search."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_reading_preferences_is_bounded_work(bounded: None) -> None:
    starts = ("", "a", "a=b", 'a="b"', "a;", "a;b=c")
    parts = (" ", ";", ";  ", " ; ", "; a", ";a =", ' ;a= "b"', ';a="', '"\\"', "a", "=")
    for start, part, end in itertools.product(starts, parts, ("@", '"', "\\", "(,wait=5")):
        text = start + part * ((MAX_CHARACTERS - len(start) - len(end)) // len(part)) + end
        assert parse_prefer(text).respond_async is False


@pytest.mark.parametrize(
    "text",
    [
        "respond-async, wait=5",
        '  wait = 5 ;  a ; b = c;d="e;,\\"f" ; , respond-async  ',
        'wait="5";;; ;,respond-async;',
        'x="wait=9, \\",", wait=5, respond-async, wait=7',
        "a b, @, wait=5, ;, respond-async",
    ],
)
def test_preferences_are_read_as_the_standard_writes_them(text: str) -> None:
    assert parse_prefer(text) == Preferences(respond_async=True, wait=5)
