"""What every answer carries against misuse, whatever the route and however it went."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from aiohttp import web
from multidict import CIMultiDict

from reportsim.settings import Settings
from reportsim.store import requests as store
from tests.api.calls import TINY, UNKNOWN, submit
from tests.conftest import Service, serving
from tests.contract.raw import exchange

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
NOT_ALLOWED = re.compile(r"unsafe|\*|http:|https:|blob:|'none'.*;.*script-src 'none'")
FILLED = {
    "id": UNKNOWN,
    "file": f"{UNKNOWN}.csv",
    "inbox": "mine",
    "slug": "not-found",
    "digest": "x",
    "name": "app.js",
}


def routes(app: web.Application) -> Iterator[tuple[str, str]]:
    """Every route, with something in place of what its path leaves open."""
    for route in app.router.routes():
        assert route.resource is not None
        yield route.method, re.sub(r"{(\w+)}", lambda match: FILLED[match[1]], route.resource.canonical)


def check(headers: Mapping[str, str], html: bool) -> None:
    """The headers of one answer."""
    assert headers["Server"] == "reportsim"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Set-Cookie" not in headers
    assert "Cache-Control" in headers
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert not NOT_ALLOWED.search(policy)
    if html:
        assert "form-action 'self'" in policy
        assert "base-uri 'none'" in policy
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
    else:
        assert policy == API_POLICY


async def test_every_route_carries_them_whether_it_succeeds_or_not(service: Service, subtests: pytest.Subtests) -> None:
    await submit(service, "/api/sync")
    seen = set()
    for method, path in routes(service.app):
        for body in (None, b"{"):
            if method == "GET" and path == "/api/events":
                continue  # below
            with subtests.test(method=method, path=path, body=body):
                async with service.client.request(
                    method, path, data=body, headers={"Content-Type": "application/json"}
                ) as answer:
                    await answer.read()
                    check(answer.headers, answer.content_type == "text/html")
                    assert answer.headers["X-Request-Id"]
                    seen.add(answer.status)
    assert {200, 202, 400, 404, 415} <= seen
    async with service.client.get("/api/events") as stream:
        check(stream.headers, False)


async def test_errors_carry_them_too(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for method, path, status, headers in [
        ("GET", "/nowhere", 404, {}),
        ("GET", "/nowhere", 404, {"Accept": "text/html"}),
        ("DELETE", "/", 405, {}),
        ("POST", "/api/sync", 403, {"Sec-Fetch-Site": "cross-site"}),
        ("GET", "/healthz", 421, {"Host": "evil.example"}),
        ("POST", "/api/sync", 417, {"Expect": "miracles"}),
    ]:
        async with service.client.request(method, path, headers=headers) as answer:
            assert answer.status == status
            check(answer.headers, answer.content_type == "text/html")
            await answer.read()

    async def fail(*_: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr(store, "get", fail)
    async with service.client.get(f"/api/requests/{UNKNOWN}") as answer:
        assert answer.status == 500
        check(answer.headers, False)
        await answer.read()
    reply = await exchange(service.url, b"nonsense\r\n\r\n")
    assert reply.status == 400
    check(CIMultiDict(reply.headers), False)


async def test_what_is_private_is_kept_by_no_cache(service: Service) -> None:
    id = await submit(service, "/api/sync")
    for path, expected in [
        ("/api/requests", "no-store"),
        (f"/api/requests/{id}", "no-store"),
        ("/healthz", "no-store"),
        ("/readyz", "no-store"),
        ("/metrics", "no-store"),
        ("/api/nowhere", "no-store"),
        ("/", "no-cache"),
        (f"/requests/{id}", "no-cache"),
        ("/openapi.json", "no-cache"),
        (f"/api/reports/{id}.csv", "private, max-age=3600, immutable"),
    ]:
        async with service.client.get(path) as answer:
            assert answer.headers["Cache-Control"] == expected, path
            await answer.read()


async def test_a_page_has_no_style_or_script_of_its_own_and_asks_nobody_else(service: Service) -> None:
    id = await submit(service, "/api/sync")
    for path in ("/", f"/requests/{id}", "/docs", "/problems/not-found", "/nowhere"):
        async with service.client.get(path, headers={"Accept": "text/html"}) as answer:
            html = await answer.text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html), path
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html)), path
        loaded = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="([^"]*)"', html)
        assert loaded
        assert all(url.startswith("/") and not url.startswith("//") for url in loaded), path


async def test_a_form_of_another_site_can_send_nothing(service: Service) -> None:
    """What a page can send without asking first: these types, and its own origin in a header."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        for path in ("/api/sync", "/api/async", "/api/callbacks/simulate-failures"):
            async with service.client.post(path, data=b"{}", headers={"Content-Type": kind}) as answer:
                assert answer.status == 415
                await answer.read()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        for path in (f"/api/requests/{UNKNOWN}/cancel", f"/api/requests/{UNKNOWN}/redeliver", "/"):
            async with service.client.post(path, headers=headers) as answer:
                assert answer.status == 403
                await answer.read()


async def test_nothing_more_is_said_when_debugging(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("the inside")

    async with serving(replace(settings, debug=True)) as service:
        monkeypatch.setattr(store, "get", fail)
        async with service.client.get(f"/api/requests/{UNKNOWN}") as answer:
            assert answer.status == 500
            assert "inside" not in await answer.text()
        monkeypatch.undo()
        async with service.client.post("/api/sync", json=TINY) as answer:
            assert answer.status == 200
            await answer.read()
