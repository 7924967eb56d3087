"""Query parameters: what an operation does not know is refused by name, whatever the method and the route."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.api.calls import UNKNOWN, read
from tests.conftest import Service

FILLED = {"id": UNKNOWN, "file": f"{UNKNOWN}.csv"}


def routes(app: web.Application) -> Iterator[tuple[str, str]]:
    """Every method and path of the API, and every form."""
    for route in app.router.routes():
        assert route.resource is not None
        path = re.sub(r"{(\w+)}", lambda match: FILLED.get(match[1], "x"), route.resource.canonical)
        is_form = route.method == "POST" and route.handler.__module__.startswith("reportsim.pages.")
        if path.startswith("/api/") or is_form:
            yield route.method, path


async def test_no_route_overlooks_a_query_parameter(service: Service, subtests: pytest.Subtests) -> None:
    found = sorted(set(routes(service.app)))
    assert len(found) > 35
    for method, path in found:
        for name in ("surprise", "LIMIT", "report_type", "~ä/"):
            with subtests.test(method=method, path=path, name=name):
                async with service.client.request(method, f"{path}?{quote(name)}=1") as answer:
                    assert answer.status == 422
                    if path.startswith("/api/") and method != "HEAD":
                        body = await answer.json()
                        assert body["type"] == "/problems/invalid-parameters"
                        assert name in [error["parameter"] for error in body["errors"]]
                    else:
                        await answer.read()
    assert (await read(service, "/api/requests"))["items"] == []


@pytest.mark.parametrize("query", ["ledger=tiny&report_type=balance_sheet", "a", "=1", "x=1&x=2"])
async def test_a_parameter_that_belongs_into_the_body_makes_no_report(service: Service, query: str) -> None:
    for path in ("/api/sync", "/api/async", "/api/benchmark/both", "/api/requests/redeliver"):
        async with service.client.post(f"{path}?{query}") as answer:
            assert answer.status == 422
            assert (await answer.json())["errors"][0]["detail"]
    assert (await read(service, "/api/requests"))["items"] == []
    assert (await read(service, "/api/benchmark"))["items"] == []


async def test_an_empty_query_is_none(service: Service) -> None:
    async with service.client.post("/api/sync?") as answer:
        assert answer.status == 200


async def test_pages_and_receivers_take_parameters_of_others(service: Service) -> None:
    for path in ("/?utm_source=mail", "/benchmarks?ref=1", "/webhook-test/mine?tenant=7", "/healthz?probe=1"):
        async with service.client.get(path) as answer:
            assert answer.status == 200
            await answer.read()
    async with service.client.post("/webhook-test/mine?tenant=7", data=b"{}") as answer:
        assert answer.status == 200
