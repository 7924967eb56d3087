"""Idempotency keys beyond the plain replay: races, errors, meanings, and the end of a key's life."""

import asyncio
import io
import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.model import Ledger
from reportsim.reports.catalog import CATALOG
from reportsim.reports.files.spool import HEADER
from reportsim.schemas.requests import AsyncSubmission, accept, parse, same_meaning
from reportsim.settings import Settings
from reportsim.store import requests as store
from reportsim.web.body import parse_json
from tests.api.calls import TINY, held_for, listed, read, until
from tests.conftest import Service, serving

MANY = 50
KEY = {"X-Idempotency-Key": "once"}


async def post(service: Service, path: str, body: Any = TINY, **headers: str) -> tuple[int, bytes, bool]:
    """Status, body, and whether it was a replay."""
    async with service.client.post(path, json=body, headers={**KEY, **headers}) as answer:
        return answer.status, await answer.read(), answer.headers.get("Idempotent-Replayed") == "true"


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
    assert {answered for answered, _, _ in answers} <= meanwhile
    (first,) = (answer for answer in answers if answer[0] == status and not answer[2])
    (id,) = await listed(service)
    await service.ended(id)
    again = await asyncio.gather(*(post(service, path, body) for _ in range(MANY)))
    assert set(again) == {(status, first[1], True)}
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
        assert (await post(service, "/api/async", body))[0] == 202
    (id,) = await listed(service)
    await service.ended(id)
    await post(service, "/api/async", body)
    own = service.engine.files.path(UUID(id))
    spool, file = sorted(settings.reports_dir.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (spool.suffix, file) == (".spool", own)
    assert spool.stat().st_size == HEADER.size + own.stat().st_size
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
    assert (await post(service, "/api/sync"))[::2] == (200, False)


async def test_a_client_that_left_gets_its_answer_when_it_asks_again(service: Service) -> None:
    waiting = asyncio.create_task(post(service, "/api/sync", held_for(200)))
    (id,) = await until(lambda: listed(service))
    waiting.cancel()
    await service.ended(id)
    status, body, replayed = await post(service, "/api/sync", held_for(200))
    assert (status, replayed, json.loads(body)["id"]) == (200, True, id)


async def test_a_key_lives_as_long_as_its_row(service: Service) -> None:
    id = json.loads((await post(service, "/api/sync"))[1])["id"]
    gone = await store.prune(service.engine.pool, service.engine.new_id(), timedelta(0), 10)
    assert [str(each) for each in gone] == [id]
    status, body, replayed = await post(service, "/api/sync")
    assert (status, replayed) == (200, False)
    assert json.loads(body)["id"] != id
    for path in (f"/api/requests/{id}", f"/api/requests/{id}/callback-logs", f"/api/reports/{id}.csv"):
        async with service.client.get(path) as answer:
            assert answer.status == 404
            await answer.read()


async def test_a_key_is_the_same_key_for_everyone(service: Service) -> None:
    assert not (await post(service, "/api/async", Cookie="session=1"))[2]
    assert (await post(service, "/api/async", Cookie="session=2"))[2]


# What means the same: any form of the same JSON, and defaults that are written out.

LEDGER = Ledger(
    ledger_id=1,
    name="demo",
    currency="EUR",
    exponent=2,
    version=1,
    first_on=date(2025, 1, 1),
    last_on=date(2025, 12, 31),
    lines=10,
)
DEFAULTS: dict[str, Any] = {
    "report_type": "trial_balance",
    "ledger": "demo",
    "from": "2025-01-01",
    "to": "2026-01-01",
    "include_zero": False,
}
CHANGES: dict[str, Any] = {
    "from": "2025-02-01",
    "to": "2025-12-31",
    "include_zero": True,
    "callback_url": "https://example.com/hook",
    "simulate": {"seed": 2},
}
BODIES = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.sampled_from([DEFAULTS[name], CHANGES[name]]) for name in ("from", "to", "include_zero")},
        "ledger": st.just("demo"),
        "report_type": st.just("trial_balance"),
        "callback_url": st.sampled_from(["https://example.com/hook", "https://example.com/other"]),
        "simulate": st.fixed_dictionaries(
            {"seed": st.integers(0, 3)}, optional={"failure_rate": st.sampled_from([0, 1])}
        ),
    },
)


def fingerprint(raw: bytes) -> bytes:
    return accept(parse(AsyncSubmission, parse_json(raw)), CATALOG["trial_balance"], LEDGER, None).fingerprint


def written(data: st.DataObject, body: dict[str, Any]) -> bytes:
    """A body in some order, with some blanks, with whole numbers as floats or not."""
    names = data.draw(st.permutations(list(body)))
    numbers = data.draw(st.sampled_from([int, float]))

    def form(value: Any) -> Any:
        match value:
            case dict():
                return {name: form(value[name]) for name in data.draw(st.permutations(list(value)))}
            case bool():
                return value
            case int():
                return numbers(value)
            case _:
                return value

    indent = data.draw(st.sampled_from([None, 0, 3]))
    return json.dumps({name: form(body[name]) for name in names}, indent=indent).encode()


@given(BODIES, st.sets(st.sampled_from(list(DEFAULTS))), st.data())
def test_forms_and_defaults_change_no_meaning(body: dict[str, Any], explicit: set[str], data: st.DataObject) -> None:
    complete = {**{name: DEFAULTS[name] for name in explicit}, **body}
    shortened = {name: value for name, value in body.items() if DEFAULTS.get(name) != value}
    first = fingerprint(written(data, body))
    assert same_meaning(first, fingerprint(written(data, complete)))
    assert same_meaning(first, fingerprint(written(data, shortened)))


@given(BODIES, st.sampled_from(list(CHANGES)), st.data())
def test_any_other_value_changes_the_meaning(body: dict[str, Any], name: str, data: st.DataObject) -> None:
    value = DEFAULTS.get(name) if body.get(name) == CHANGES[name] else CHANGES[name]
    changed = {key: other for key, other in {**body, name: value}.items() if other is not None}
    assert not same_meaning(fingerprint(written(data, body)), fingerprint(written(data, changed)))
