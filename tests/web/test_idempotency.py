"""X-Idempotency-Key: one execution, and the same answer to everyone who asks again."""

import asyncio
import io
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from multidict import CIMultiDictProxy

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store import requests as store
from reportsim.store.pool import Pool
from tests.api.calls import FAILING, TINY, held_for, listed, read, until
from tests.conftest import Service, serving

SYNC = "/api/sync"
ASYNC = "/api/async"
FAILURES = "/api/callbacks/simulate-failures"
SLOW = held_for(1_500)
MANY = 50
KEY = {"X-Idempotency-Key": "once"}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


async def post(
    service: Service,
    path: str,
    body: Any = TINY,
    key: str | None = "once",
    preference: str | None = None,
    cookie: str | None = None,
    **more: Any,
) -> Answer:
    given = {"X-Idempotency-Key": key, "Prefer": preference, "Cookie": cookie}
    headers = {name: value for name, value in given.items() if value is not None}
    async with service.client.post(path, json=body, headers=headers, **more) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


def outcome(answer: Answer) -> tuple[int, bytes, bool]:
    return answer.status, answer.body, answer.replayed


@pytest.mark.parametrize(("path", "status"), [(SYNC, 200), (ASYNC, 202), (FAILURES, 202)])
async def test_the_first_answer_is_given_again_byte_for_byte(service: Service, path: str, status: int) -> None:
    first = await post(service, path, TINY)
    assert first.status == status
    assert "Idempotent-Replayed" not in first.headers
    for _ in range(3):
        again = await post(service, path, TINY)
        assert (again.status, again.body) == (first.status, first.body)
        assert again.replayed
        for name in ("Content-Type", "Location"):
            assert again.headers.get(name) == first.headers.get(name)
        assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert len(await listed(service)) == 1


async def test_an_accepted_request_is_replayed_as_it_was_accepted_even_when_it_has_ended(service: Service) -> None:
    async with service.client.post(ASYNC, json=TINY, headers={"X-Idempotency-Key": "once"}) as answer:
        id = (await answer.json())["id"]
        first = await answer.read()
    await service.ended(id)
    again = await post(service, ASYNC, TINY)
    assert (again.status, again.body, again.replayed) == (202, first, True)


async def test_the_key_is_shown_by_the_request(service: Service) -> None:
    async with service.client.post(SYNC, json=TINY, headers={"X-Idempotency-Key": "shown"}) as answer:
        assert (await answer.json())["idempotency_key"] == "shown"


@pytest.mark.parametrize(
    "same",
    [
        {"report_type": "trial_balance", "ledger": "tiny"},
        {"ledger": "tiny", "include_zero": False},
        {"ledger": "tiny", "from": "2025-01-01", "to": "2026-01-01"},
    ],
)
async def test_another_way_to_say_the_same_is_the_same(service: Service, same: dict[str, Any]) -> None:
    first = await post(service, SYNC, TINY)
    again = await post(service, SYNC, same)
    assert again.replayed
    assert again.body == first.body


async def test_whole_floats_and_the_order_of_members_mean_nothing(service: Service) -> None:
    first = await post(service, SYNC, {"ledger": "tiny", "simulate": {"seed": 7, "failure_rate": 0}})
    again = await post(service, SYNC, {"simulate": {"failure_rate": 0.0, "seed": 7.0}, "ledger": "tiny"})
    assert again.replayed
    assert again.body == first.body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (SYNC, {"ledger": "demo"}),
        (SYNC, {"ledger": "tiny", "include_zero": True}),
        (SYNC, {"ledger": "tiny", "to": "2025-12-31"}),
        (ASYNC, TINY),
        (FAILURES, TINY),
    ],
)
async def test_another_meaning_or_endpoint_under_the_same_key_is_refused(
    service: Service, path: str, body: dict[str, Any]
) -> None:
    await post(service, SYNC, TINY)
    refused = await post(service, path, body)
    assert refused.status == 422
    assert b"/problems/idempotency-mismatch" in refused.body
    assert len(await listed(service)) == 1


async def test_another_callback_url_is_another_meaning(service: Service) -> None:
    await post(service, ASYNC, {**TINY, "callback_url": f"{service.url}/webhook-test/one"})
    refused = await post(service, ASYNC, {**TINY, "callback_url": f"{service.url}/webhook-test/two"})
    assert refused.status == 422


async def test_while_the_first_sync_runs_the_key_is_a_conflict_that_says_where_to_look(service: Service) -> None:
    first = asyncio.create_task(post(service, SYNC, SLOW))
    await until(lambda: listed(service))
    second = await post(service, SYNC, SLOW)
    assert second.status == 409
    assert b"/problems/idempotency-in-progress" in second.body
    assert int(second.headers["Retry-After"]) >= 1
    path, _, parameter = second.headers["Link"].partition("; ")
    assert parameter == 'rel="status"'
    done = await first
    assert done.status == 200
    async with service.client.get(path.strip("<>")) as answer:
        assert await answer.read() == done.body
    again = await post(service, SYNC, SLOW)
    assert (again.status, again.body, again.replayed) == (200, done.body, True)


@pytest.mark.parametrize("preference", ["wait=10", "respond-async, wait=10"])
async def test_who_would_wait_gets_the_answer_of_the_first_sync_that_runs(service: Service, preference: str) -> None:
    first = asyncio.create_task(post(service, SYNC, SLOW))
    await until(lambda: listed(service))
    second = await post(service, SYNC, SLOW, preference=preference)
    done = await first
    assert (second.status, second.body, second.replayed) == (200, done.body, True)
    assert second.headers["Preference-Applied"] == "wait=10"
    assert second.headers["Server-Timing"] == done.headers["Server-Timing"]
    assert len(await listed(service)) == 1


async def test_who_would_wait_gets_the_failure_of_the_first_sync_too(service: Service) -> None:
    failing = {**SLOW, "simulate": {**SLOW["simulate"], "failure_rate": 1}}
    first = asyncio.create_task(post(service, SYNC, failing))
    await until(lambda: listed(service))
    second = await post(service, SYNC, failing, preference="wait=10")
    done = await first
    assert (second.status, second.body, second.replayed) == (500, done.body, True)


async def test_who_has_waited_in_vain_is_told_where_to_look(service: Service) -> None:
    first = asyncio.create_task(post(service, SYNC, held_for(1_500)))
    await until(lambda: listed(service))
    second = await post(service, SYNC, held_for(1_500), preference="wait=1")
    assert second.status == 409
    assert "Preference-Applied" not in second.headers
    assert second.headers["Link"].endswith('rel="status"')
    assert (await first).status == 200


async def test_while_the_first_async_runs_its_202_is_replayed(service: Service) -> None:
    first = await post(service, ASYNC, SLOW)
    again = await post(service, ASYNC, SLOW)
    assert (again.status, again.body, again.replayed) == (202, first.body, True)


async def test_many_at_once_are_executed_once(service: Service) -> None:
    answers = await asyncio.gather(*(post(service, SYNC, TINY) for _ in range(20)))
    assert {answer.status for answer in answers} <= {200, 409}
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    assert sum(answer.status == 200 and not answer.replayed for answer in answers) == 1
    assert len(await listed(service)) == 1


async def test_a_report_that_failed_is_replayed_as_it_failed(service: Service) -> None:
    first = await post(service, SYNC, FAILING)
    again = await post(service, SYNC, FAILING)
    assert first.status == again.status == 500
    assert first.body == again.body
    assert again.replayed
    assert first.headers["Content-Type"] == again.headers["Content-Type"] == "application/problem+json"
    assert len(await listed(service)) == 1


async def test_a_sync_request_that_was_cancelled_is_replayed_as_it_ended(service: Service) -> None:
    waiting = asyncio.create_task(post(service, SYNC, SLOW))
    (id,) = await until(lambda: listed(service))
    async with service.client.post(f"/api/requests/{id}/cancel") as answer:
        assert answer.status == 200
    first = await waiting
    assert b"/problems/cancelled" in first.body
    again = await post(service, SYNC, SLOW)
    assert (again.status, again.body, again.replayed) == (first.status, first.body, True)


async def test_what_was_refused_before_it_began_leaves_the_key_free(service: Service) -> None:
    refused = await post(service, SYNC, {"ledger": "nobody's"})
    assert refused.status == 422
    executed = await post(service, SYNC, TINY)
    assert executed.status == 200
    assert not executed.replayed


async def test_the_standard_header_names_the_same_key(service: Service) -> None:
    first = await post(service, SYNC, TINY, key='with "quotes"')
    for headers in (
        {"Idempotency-Key": r'"with \"quotes\""'},
        {"Idempotency-Key": r'"with \"quotes\""', "X-Idempotency-Key": 'with "quotes"'},
    ):
        async with service.client.post(SYNC, json=TINY, headers=headers) as answer:
            assert answer.headers["Idempotent-Replayed"] == "true"
            assert await answer.read() == first.body


async def test_a_key_that_is_repeated_contradicted_or_malformed_is_refused(
    service: Service, subtests: pytest.Subtests
) -> None:
    for headers in [
        [("X-Idempotency-Key", "one"), ("X-Idempotency-Key", "one")],
        [("Idempotency-Key", '"one"'), ("Idempotency-Key", '"one"')],
        [("X-Idempotency-Key", "one"), ("Idempotency-Key", '"two"')],
        [("X-Idempotency-Key", "")],
        [("X-Idempotency-Key", "k" * 256)],
        [("X-Idempotency-Key", "clé")],
        [("X-Idempotency-Key", "tab\there")],
        [("Idempotency-Key", "k" * 256)],
        [("Idempotency-Key", "one"), ("Idempotency-Key", "one")],
        [("Idempotency-Key", "one"), ("X-Idempotency-Key", "two")],
        [("Idempotency-Key", '"one"x')],
        [("Idempotency-Key", '"one";Upper=1')],
        [("Idempotency-Key", '"open')],
        [("Idempotency-Key", '""')],
        [("Idempotency-Key", '"one", "two"')],
    ]:
        with subtests.test(headers=headers):
            async with service.client.post(SYNC, json=TINY, headers=headers) as answer:
                assert answer.status == 400
                assert (await answer.json())["type"] == "/problems/invalid-idempotency-key"
            assert await listed(service) == []


@pytest.mark.parametrize("key", ["k", "k" * 255, " ~!", "ключ".encode().hex()])
async def test_a_key_is_any_printable_ascii_up_to_255(service: Service, key: str) -> None:
    headers = {"Idempotency-Key": f'"{key}"'}
    async with service.client.post(SYNC, json=TINY, headers=headers) as answer:
        assert answer.status == 200
        assert (await answer.json())["idempotency_key"] == key


KEYS = [
    ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
    ("order:7/b=c", "order:7/b=c"),
    ("one; two", "one; two"),
    ('it\'s "quoted" within', 'it\'s "quoted" within'),
    ('"one"', "one"),
    ('"one";a', "one"),
    ('"one"; a=1;b="x;y";c=?0; d=:YQ==:;e=token/x;f=-1.5;g=@1659578233;*h=%"x"', "one"),
]


@pytest.mark.parametrize(("sent", "key"), KEYS)
async def test_a_standard_key_is_taken_with_and_without_quotes(service: Service, sent: str, key: str) -> None:
    seen = set()
    for headers in (
        {"Idempotency-Key": sent},
        {"Idempotency-Key": sent, "X-Idempotency-Key": key},
        {"Idempotency-Key": sent, "X-Idempotency-Key": sent},
        {"X-Idempotency-Key": key},
    ):
        async with service.client.post(ASYNC, json=TINY, headers=headers) as answer:
            body = await answer.json()
            assert answer.status == 202, body
            assert body["idempotency_key"] == key
            seen.add(body["id"])
    assert len(seen) == 1


# Races, errors, and the end of a key's life


@pytest.mark.parametrize(
    ("path", "body", "status", "meanwhile"),
    [
        pytest.param("/api/sync", TINY, 200, {200, 409}, id="sync"),
        pytest.param("/api/sync", held_for(200), 200, {200, 409}, id="sync, slow"),
        pytest.param("/api/async", TINY, 202, {202}, id="async"),
        pytest.param("/api/callbacks/simulate-failures", {**TINY, "failures": 0}, 202, {202}, id="failures"),
    ],
)
async def test_fifty_at_once_are_executed_once_and_replayed_byte_for_byte(
    service: Service, path: str, body: Any, status: int, meanwhile: set[int]
) -> None:
    answers = await asyncio.gather(*(post(service, path, body) for _ in range(MANY)))
    assert {answer.status for answer in answers} <= meanwhile
    (first,) = (answer for answer in answers if answer.status == status and not answer.replayed)
    (id,) = await listed(service)
    await service.ended(id)
    again = await asyncio.gather(*(post(service, path, body) for _ in range(MANY)))
    assert {(answer.status, answer.body, answer.replayed) for answer in again} == {(status, first.body, True)}
    assert sum(service.engine.counts.accepted.values()) == 1
    assert sum(service.engine.counts.ended.values()) == 1


async def test_a_replay_has_an_id_and_a_quota_of_its_own(settings: Settings) -> None:
    async with serving(replace(settings, sync_rate=5)) as service:
        seen = []
        for _ in range(2):
            async with service.client.post("/api/sync", json=TINY, headers=KEY) as answer:
                seen.append((answer.headers["X-Request-Id"], answer.headers["RateLimit"], await answer.read()))
    (first, left, body), (second, less, again) = seen
    assert body == again
    assert first != second
    assert (left.split(";")[1], less.split(";")[1]) == ("r=4", "r=3")


async def test_a_replay_makes_no_second_file_and_no_second_callback(service: Service, settings: Settings) -> None:
    body = {**TINY, "callback_url": f"{service.url}/webhook-test/replays"}
    for _ in range(5):
        assert (await post(service, "/api/async", body)).status == 202
    (id,) = await listed(service)
    await service.ended(id)
    await post(service, "/api/async", body)
    assert service.engine.files.ids() == [UUID(id)]
    own = service.engine.files.path(UUID(id))
    assert list(settings.reports_dir.iterdir()) == [own]
    (arrival,) = (await read(service, "/webhook-test/replays"))["items"]
    # Receivers tell duplicates by an id of ours, which says nothing of the client's key.
    assert "once" not in arrival["headers"]["webhook-id"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        pytest.param(b"{", "application/json", 400, id="malformed"),
        pytest.param(b"{}", "text/plain", 415, id="of another type"),
        pytest.param(b" " * 70_000, "application/json", 413, id="too large"),
        pytest.param(b'{"ledger": "nobody\'s"}', "application/json", 422, id="not valid"),
    ],
)
async def test_what_is_refused_before_it_began_is_not_kept(
    service: Service, body: bytes, kind: str, status: int
) -> None:
    headers = {**KEY, "Content-Type": kind}
    for _ in range(2):
        async with service.client.post("/api/sync", data=io.BytesIO(body), headers=headers) as answer:
            assert answer.status == status
            assert "Idempotent-Replayed" not in answer.headers
    assert await listed(service) == []
    executed = await post(service, "/api/sync")
    assert (executed.status, executed.replayed) == (200, False)


async def test_a_client_that_left_gets_its_answer_when_it_asks_again(service: Service) -> None:
    waiting = asyncio.create_task(post(service, "/api/sync", held_for(200)))
    (id,) = await until(lambda: listed(service))
    waiting.cancel()
    await service.ended(id)
    again = await post(service, "/api/sync", held_for(200))
    assert (again.status, again.replayed, json.loads(again.body)["id"]) == (200, True, id)


async def test_a_key_lives_as_long_as_its_row(service: Service) -> None:
    id = json.loads((await post(service, "/api/sync")).body)["id"]
    gone = await store.prune(service.engine.pool, service.engine.new_id(), timedelta(0), 10)
    assert [str(each) for each in gone] == [id]
    again = await post(service, "/api/sync")
    assert (again.status, again.replayed) == (200, False)
    assert json.loads(again.body)["id"] != id
    for path in (f"/api/requests/{id}", f"/api/requests/{id}/callback-logs", f"/api/reports/{id}.csv"):
        async with service.client.get(path) as answer:
            assert answer.status == 404
            await answer.read()


async def test_a_key_is_the_same_key_for_everyone(service: Service) -> None:
    assert not (await post(service, "/api/async", cookie="session=1")).replayed
    assert (await post(service, "/api/async", cookie="session=2")).replayed


@pytest.mark.parametrize("at_once", [True, False], ids=["known to be gone", "still remembered"])
@pytest.mark.parametrize(
    ("path", "prefer"),
    [
        ("/api/sync", None),
        ("/api/sync", "respond-async"),
        ("/api/async", None),
        ("/api/callbacks/simulate-failures", None),
    ],
)
async def test_a_key_outlives_the_ledger_of_its_request(
    service: Service, pool: Pool, path: str, prefer: str | None, *, at_once: bool
) -> None:
    """What is asked for is compared without the ledger; another request under the key is refused as always."""
    async with pool.acquire() as connection:
        await ledgers.generate(connection, "short-lived", lines=4, seed=1)
    body = {"ledger": "short-lived", "report_type": "general_ledger", "account_codes": ["1000"]}
    first = await post(service, path, body, preference=prefer)
    assert first.status == (202 if prefer or path != "/api/sync" else 200)
    await service.ended((await listed(service))[0])
    async with pool.acquire() as connection:
        assert await ledgers.delete(connection, "short-lived")
    if at_once:
        await service.engine.ledgers.read("short-lived")
    assert outcome(await post(service, path, body, preference=prefer)) == (first.status, first.body, True)
    for other in ({**body, "account_codes": ["1100"]}, {**body, "nonsense": 1}):
        assert (await post(service, path, other, preference=prefer)).status == 422
    assert (await post(service, path, body, key="new")).status == 422


async def test_a_key_outlives_the_policy_that_its_callback_was_accepted_by(settings: Settings) -> None:
    body = {**TINY, "callback_url": "http://127.0.0.1:8123/hook"}
    async with serving(replace(settings, callback_allow=AllowList.parse("127.0.0.0/8"))) as service:
        first = await post(service, "/api/async", body)
        assert first.status == 202
    async with serving(settings) as service:
        assert outcome(await post(service, "/api/async", body)) == (first.status, first.body, True)
        async with service.client.post("/api/async", json=body) as answer:
            assert answer.status == 422


async def test_a_key_outlives_the_permission_to_simulate(settings: Settings) -> None:
    body = {**TINY, "simulate": {"failure_rate": 0}}
    async with serving(settings) as service:
        first = await post(service, "/api/sync", body)
        assert first.status == 200
    async with serving(replace(settings, simulate=False)) as service:
        assert outcome(await post(service, "/api/sync", body)) == (first.status, first.body, True)
        assert (await post(service, "/api/sync", {**body, "simulate": {"failure_rate": 1}})).status == 422
