"""Problems: every error, whatever was accepted or done, is a document that helps and tells nothing of the inside."""

import asyncio
import errno
import os
import re
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from reportsim.core.problems import KINDS
from reportsim.settings import Settings
from reportsim.store import requests as store
from reportsim.store.errors import DatabaseUnavailable
from tests.api.calls import TINY, UNKNOWN, listed, read, submit
from tests.conftest import Service, serving
from tests.contract.raw import exchange

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
INSIDE = re.compile(
    r"Traceback|asyncpg|aiohttp|postgres|psycopg|SELECT|/home/|/tmp/|site-packages|\.py\b|line \d+", re.I
)


async def ask(service: Service, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
    async with service.client.request(method, path, **options) as answer:
        assert answer.content_type == "application/problem+json", await answer.text()
        return answer.status, answer.headers, await answer.json()


ERRORS: list[tuple[int, str, str, dict[str, Any]]] = [
    (400, "POST", "/api/sync", {"data": b"{", "headers": {"Content-Type": "application/json"}}),
    (400, "GET", "/api/requests?cursor=x", {}),
    (403, "POST", "/api/sync", {"headers": {"Sec-Fetch-Site": "cross-site"}}),
    (404, "GET", "/api/nowhere", {}),
    (404, "GET", f"/api/requests/{UNKNOWN}", {}),
    (405, "DELETE", "/api/requests", {}),
    (405, "POST", "/api/events", {}),
    (405, "PUT", "/api/sync", {}),
    (413, "POST", "/api/sync", {"data": b" " * 70_000, "headers": {"Content-Type": "application/json"}}),
    (415, "POST", "/api/sync", {"data": b"{}", "headers": {"Content-Type": "text/plain"}}),
    (417, "POST", "/api/sync", {"json": {}, "headers": {"Expect": "miracles"}}),
    (421, "GET", "/healthz", {"headers": {"Host": "evil.example"}}),
    (422, "POST", "/api/sync", {"json": {"surprise": 1}}),
    (422, "GET", "/api/requests?limt=1", {}),
]


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "text/html", "image/png;q=0.1", "", "nonsense"])
async def test_an_error_is_a_problem_whatever_is_accepted(
    service: Service, accept: str, subtests: pytest.Subtests
) -> None:
    for status, method, path, options in ERRORS:
        if path == "/healthz" and accept == "text/html":
            continue  # a browser that asks for no endpoint gets a page
        with subtests.test(status=status, path=path):
            headers = {**options.get("headers", {}), "Accept": accept}
            answered, _, problem = await ask(service, method, path, **{**options, "headers": headers})
            assert answered == problem["status"] == status
            kind = next(kind for kind in KINDS.values() if kind.type == problem["type"])
            assert (problem["title"], kind.status) == (kind.title, status)
            assert problem["detail"]
            assert not INSIDE.search(str(problem)), problem


async def test_a_problem_names_its_request_and_its_trace(service: Service) -> None:
    headers = {"X-Request-Id": "mine", "traceparent": TRACE}
    _, answered, problem = await ask(service, "GET", f"/api/requests/{UNKNOWN}", headers=headers)
    assert problem["request_id"] == answered["X-Request-Id"] == "mine"
    assert problem["trace_id"] == "a" * 32
    _, _, problem = await ask(service, "GET", f"/api/requests/{UNKNOWN}", headers={"traceparent": "nonsense"})
    assert "trace_id" not in problem


async def test_types_lead_to_pages(service: Service) -> None:
    for kind in KINDS.values():
        if kind.type.startswith("/"):
            async with service.client.get(kind.type) as answer:
                assert (answer.status, answer.content_type) == (200, "text/html")
                assert kind.about in (await answer.text()).replace("&#39;", "'")


async def test_parameters_and_pointers_say_where(service: Service) -> None:
    _, _, problem = await ask(service, "POST", "/api/sync", json={"a/b": 1, "simulate": {"seed": "x"}})
    assert {error["pointer"] for error in problem["errors"]} == {"#/a~1b", "#/simulate/seed"}
    _, _, problem = await ask(service, "GET", "/api/requests?limit=0&mode=x")
    assert {error["parameter"] for error in problem["errors"]} == {"limit", "mode"}


async def test_what_is_no_http_is_answered_by_a_problem_that_echoes_nothing(service: Service) -> None:
    reply = await exchange(service.url, b"<script>alert(1)</script> / HTTP/1.1\r\n\r\n")
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert b"script" not in reply.body


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("SELECT * FROM requests at /home/me/secret.py line 7"),
        asyncpg.UndefinedColumnError('column "x" of relation "requests" does not exist'),
        asyncpg.CharacterNotInRepertoireError("invalid byte sequence"),
        OSError(2, "No such file or directory", "/tmp/secret"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 5432)"),
        asyncpg.InterfaceError("pool is closing"),
        TimeoutError(),
        KeyError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_of_our_own_say_nothing_of_the_inside(
    service: Service, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(store, "page", fail)
    for path, kind in (("/api/requests", "application/problem+json"), ("/", "text/html")):
        async with service.client.get(path, headers={"Accept": "text/html"}) as answer:
            text = await answer.text()
            assert answer.status in {500, 503}
            assert answer.content_type == kind
            assert not INSIDE.search(re.sub(r"<[^>]*>", "", text)), text
            assert "secret" not in text
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) >= 1


async def test_a_missing_database_is_503_for_what_needs_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailable("nobody answers")

    monkeypatch.setattr(store, "get", fail)
    status, headers, problem = await ask(service, "GET", f"/api/requests/{UNKNOWN}")
    assert (status, problem["type"]) == (503, "/problems/unavailable")
    assert int(headers["Retry-After"]) >= 1
    async with service.client.get("/healthz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM])
async def test_a_shortage_of_the_machine_is_503_and_not_blamed_on_the_database(
    service: Service, monkeypatch: pytest.MonkeyPatch, shortage: int
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise OSError(shortage, os.strerror(shortage))

    monkeypatch.setattr(store, "get", fail)
    status, headers, problem = await ask(service, "GET", f"/api/requests/{UNKNOWN}")
    assert (status, problem["type"]) == (503, "/problems/unavailable")
    assert int(headers["Retry-After"]) >= 1
    assert "database" not in problem["detail"]


async def test_a_file_that_is_gone_is_not_blamed_on_the_database(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(store, "get", fail)
    status, _, problem = await ask(service, "GET", f"/api/requests/{UNKNOWN}")
    assert (status, problem["type"]) == (500, "/problems/internal-error")


async def test_an_ended_request_has_a_result_or_an_error_and_never_both(service: Service) -> None:
    for rate in (0, 1):
        body = {**TINY, "simulate": {"failure_rate": rate, "seed": 1}}
        found = await service.ended(await submit(service, "/api/async", body))
        assert (found["result_payload"] is None) is (found["error"] is not None) is bool(rate)


async def test_nothing_ended_ever_changes_its_status(settings: Settings) -> None:
    async with serving(replace(settings, workers=2)) as service:
        ids = [await submit(service) for _ in range(10)]
        cancels = [service.client.post(f"/api/requests/{id}/cancel") for id in ids]
        statuses = []
        for answer in await asyncio.gather(*cancels):
            async with answer:
                statuses.append(answer.status)
        ended = {id: (await service.ended(id))["status"] for id in ids}
        # Exactly one of the two won each race.
        assert [ended[id] for id in ids] == ["FAILED" if status == 200 else "COMPLETED" for status in statuses]
        assert {id: (await read(service, f"/api/requests/{id}"))["status"] for id in await listed(service)} == ended
