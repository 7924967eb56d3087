"""What is accepted after a ledger has changed sees it as it is then, through every way in."""

import asyncio
from dataclasses import replace as changed
from datetime import date
from typing import Any

import pytest

from reportsim.core.model import Mode
from reportsim.settings import Settings
from reportsim.store import ledgers
from reportsim.store.pool import Connection
from tests.conftest import Service, serving
from tests.reports.books import store, store_entries, transaction
from tests.reports.oracle import Account, Book, Entry
from tests.store.databases import empty_database

CHART = [
    Account(code="1", name="Bank", type="asset", is_cash=True, cf_section="cash"),
    Account(code="2", name="Capital", type="equity"),
]
FIRST = transaction(1, date(2025, 1, 2), ("1", 500), ("2", -500))
LATER = transaction(2, date(2025, 6, 1), ("1", 70), ("2", -70))
ANEW = transaction(1, date(2026, 3, 3), ("1", 9), ("2", -9))
BODY: dict[str, Any] = {"ledger": "own"}


def book(entries: list[Entry]) -> Book:
    return Book(accounts=CHART, entries=entries)


@pytest.fixture
async def own(connection: Connection, service: Service) -> int:
    """A ledger that the service has just made a report of."""
    ledger_id = await store(connection, book(FIRST), "own")
    assert (await call(service, "/api/sync"))[0] == 200
    return ledger_id


async def append(connection: Connection, ledger_id: int) -> None:
    """Adds a version, as an import does."""
    async with connection.transaction():
        await store_entries(connection, ledger_id, book(LATER), version=2)
        await connection.execute("UPDATE ledgers SET last_on = $2 WHERE ledger_id = $1", ledger_id, date(2025, 6, 1))


async def replace(connection: Connection) -> None:
    """Deletes the ledger, and stores another under its name."""
    assert await ledgers.delete(connection, "own")
    await store(connection, book(ANEW), "own")


async def call(service: Service, path: str, body: Any = BODY, **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with service.client.post(path, json=body, headers=named) as answer:
        return answer.status, await answer.json()


async def send(service: Service, path: str, form: dict[str, str]) -> Any:
    """The request that a form has led to."""
    async with service.client.post(path, data=form, headers={"Origin": service.url}) as answer:
        assert answer.status == 200, await answer.text()
        return await service.ended(answer.url.name)


async def through(service: Service, way: str) -> Any:
    """The ended request of a submission through one of the ways in."""
    form = {"report_type": "trial_balance", "ledger": "own"}
    match way:
        case "sync page" | "async page":
            return await send(service, "/", {**form, "mode": way.partition(" ")[0]})
        case "again":
            return await send(service, f"/requests/{(await first(service))['id']}/again", {})
        case "respond-async":
            status, body = await call(service, "/api/sync", Prefer="respond-async")
        case "wait":
            status, body = await call(service, "/api/async", Prefer="wait=5")
        case _:
            status, body = await call(service, way)
    assert status in {200, 202}, body
    return await service.ended(body["id"])


async def first(service: Service) -> Any:
    async with service.client.get("/api/requests") as answer:
        return (await answer.json())["items"][-1]


WAYS = [
    "/api/sync",
    "/api/async",
    "/api/callbacks/simulate-failures",
    "respond-async",
    "wait",
    "sync page",
    "async page",
]


@pytest.mark.parametrize("way", WAYS)
async def test_an_entry_that_was_appended_is_in_the_next_report(
    service: Service, connection: Connection, own: int, way: str
) -> None:
    await append(connection, own)
    made = await through(service, way)
    assert made["input_payload"]["to"] == "2025-06-02"
    assert made["result_payload"]["totals"]["closing_debit"] == 570


@pytest.mark.parametrize("way", [*WAYS, "again"])
async def test_a_ledger_that_was_replaced_is_the_one_that_is_reported(
    service: Service, connection: Connection, own: int, way: str
) -> None:
    await replace(connection)
    made = await through(service, way)
    assert made["status"] == "COMPLETED", made["error"]
    assert made["input_payload"]["from"] == ("2025-01-02" if way == "again" else "2026-03-03")
    assert made["result_payload"]["totals"]["closing_debit"] == (0 if way == "again" else 9)


@pytest.mark.parametrize("path", ["/api/sync", "/api/async", "/api/callbacks/simulate-failures", "/api/benchmark/both"])
async def test_a_ledger_that_was_deleted_is_refused(
    service: Service, connection: Connection, own: int, path: str
) -> None:
    assert await ledgers.delete(connection, "own")
    body = {**BODY, "rate": 1, "duration_s": 1} if "benchmark" in path else BODY
    status, problem = await call(service, path, body)
    assert status == 422
    assert problem["errors"] == [
        {"detail": "There is no such ledger. Choose one of: demo, tiny.", "pointer": "#/ledger"}
    ]
    async with service.client.get("/api/ledgers") as answer:
        assert "own" not in {item["name"] for item in (await answer.json())["items"]}
    async with service.client.get("/") as answer:
        assert '<option value="own"' not in await answer.text()


async def test_an_interval_that_only_the_new_entries_fill_is_not_refused(
    service: Service, connection: Connection, own: int
) -> None:
    await append(connection, own)
    status, made = await call(service, "/api/sync", {**BODY, "from": "2025-05-01"})
    assert (status, made["input_payload"]["to"]) == (200, "2025-06-02")


async def test_a_key_keeps_the_report_of_the_ledger_as_it_was(
    service: Service, connection: Connection, own: int
) -> None:
    before = await call(service, "/api/sync", X_Idempotency_Key="kept")
    await append(connection, own)
    assert await call(service, "/api/sync", X_Idempotency_Key="kept") == before
    status, made = await call(service, "/api/sync", X_Idempotency_Key="new")
    assert (status, made["result_payload"]["totals"]["closing_debit"]) == (200, 570)
    assert await call(service, "/api/sync", X_Idempotency_Key="new") == (200, made)


async def test_a_key_of_another_window_does_not_match_by_what_was_remembered(
    service: Service, connection: Connection, own: int
) -> None:
    """Asked for the old window in so many words, and then for all: which is more by now."""
    spelt_out = {**BODY, "from": "2025-01-02", "to": "2025-01-03"}
    assert (await call(service, "/api/sync", spelt_out, X_Idempotency_Key="k"))[0] == 200
    await append(connection, own)
    assert (await call(service, "/api/sync", X_Idempotency_Key="k"))[0] == 422


async def test_the_accepted_answer_says_what_is_made(service: Service, connection: Connection, own: int) -> None:
    await append(connection, own)
    status, accepted = await call(service, "/api/async", X_Idempotency_Key="k")
    assert (status, accepted["input_payload"]["to"]) == (202, "2025-06-02")
    ended = await service.ended(accepted["id"])
    assert ended["input_payload"] == accepted["input_payload"]
    assert await call(service, "/api/async", X_Idempotency_Key="k") == (202, accepted)


async def test_many_at_once_of_ledgers_that_changed_and_others_that_did_not(
    service: Service, connection: Connection, own: int
) -> None:
    """Batched together: nobody's changed ledger refuses or delays what concerns another."""
    await store(connection, book(FIRST), "gone")
    assert (await call(service, "/api/sync", {"ledger": "gone"}))[0] == 200
    await append(connection, own)
    assert await ledgers.delete(connection, "gone")
    names = ["own", "tiny", "gone", "demo"] * 20
    answers = await asyncio.gather(*(call(service, "/api/async", {"ledger": name}) for name in names))
    for name, (status, body) in zip(names, answers, strict=True):
        assert status == (422 if name == "gone" else 202), body
        if name == "own":
            assert body["input_payload"]["to"] == "2025-06-02"
    versions = await connection.fetch("SELECT DISTINCT ledger_version FROM requests WHERE mode = $1", Mode.ASYNC)
    assert {row[0] for row in versions} == {1, 2}


async def test_a_demo_ledger_that_was_deleted_stays_away(settings: Settings, server_dsn: str) -> None:
    async with empty_database(server_dsn) as dsn:
        for expected in (["demo", "tiny"], ["tiny"], []):
            async with serving(changed(settings, database_url=dsn)) as service:
                async with service.client.get("/api/ledgers") as answer:
                    names = [item["name"] for item in (await answer.json())["items"]]
                assert names == expected
                async with service.engine.pool.acquire() as connection:
                    for name in names[:1]:
                        assert await ledgers.delete(connection, name)
