"""What every answer carries against misuse, whatever the route and however it went."""

import base64
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict

from reportsim.core import signing
from reportsim.core.callback_policy.addresses import AllowList
from reportsim.settings import Settings
from reportsim.store import requests as store
from reportsim.store.pool import Pool
from tests.api.calls import TINY, UNKNOWN, submit
from tests.conftest import Service, serving
from tests.ports import free_port
from tests.web.raw import exchange

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

    monkeypatch.setattr(store, "get_one", fail)
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
        monkeypatch.setattr(store, "get_one", fail)
        async with service.client.get(f"/api/requests/{UNKNOWN}") as answer:
            assert answer.status == 500
            assert "inside" not in await answer.text()
        monkeypatch.undo()
        async with service.client.post("/api/sync", json=TINY) as answer:
            assert answer.status == 200
            await answer.read()


class TestOwnCallbacks:
    """A callback that somebody else passes on to this service does nothing there."""

    SECRET = b"k" * 32
    POSTS = (
        *(
            "/api/sync",
            "/api/async",
            "/api/callbacks/simulate-failures",
            "/api/benchmark/both",
            "/api/requests/redeliver",
        ),
        *("/api/requests/{id}/cancel", "/api/requests/{id}/redeliver", "/", "/benchmarks", "/requests/{id}/again"),
        *("/requests/{id}/cancel", "/requests/{id}/redeliver", "/api/benchmark/{id}/cancel", "/benchmarks/{id}/cancel"),
        "/benchmarks/{id}/plug",
        "/predict",
        "/requests/{id}/entries",
    )

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        secret = signing.PREFIX + base64.b64encode(self.SECRET).decode()
        return replace(settings, webhook_secret=(signing.new_secret(), secret), async_rate=100)

    def signed(self, body: bytes, *, age: int = 0, secret: bytes = SECRET) -> dict[str, str]:
        names = signing.headers([secret], "msg_01a20c91_1", int(time.time()) - age, body)
        return {**names, "webhook-attempt": "1", "Content-Type": "application/json"}

    def test_are_tried_on_every_route(self, service: Service) -> None:
        known = {
            path.replace(UNKNOWN, "{id}")
            for method, path in routes(service.app)
            if method == "POST" and not path.startswith("/webhook-test/")
        }
        assert known == set(self.POSTS)

    @pytest.mark.parametrize("path", POSTS)
    async def test_are_refused_and_change_nothing(self, service: Service, pool: Pool, path: str) -> None:
        id = await submit(service, "/api/async", {**TINY, "callback_url": f"{service.url}/webhook-test/mine"})
        await service.ended(id)
        before = await pool.fetch("SELECT * FROM requests")
        body = b'{"ledger": "tiny"}'
        for headers in (self.signed(body), self.signed(body, age=3_600)):
            url = path.format(id=id)
            async with service.client.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                assert answer.status == 403
                assert "own-callback" in await answer.text() or answer.content_type == "text/html"
                assert "RateLimit" not in answer.headers
        assert await pool.fetch("SELECT * FROM requests") == before
        assert not await pool.fetchval("SELECT count(*) FROM benchmarks")

    async def test_that_are_none_are_requests_as_any_other(self, service: Service) -> None:
        body = b'{"ledger": "tiny"}'
        good = self.signed(body)
        for headers in (
            self.signed(body, secret=b"x" * 32),
            self.signed(b"{}"),
            good | {"webhook-id": "msg_2"},
            good | {"webhook-timestamp": "12"},
            good | {"webhook-timestamp": "soon"},
            good | {"webhook-signature": "v1," + "\u00fc" * 44},
            good | {"webhook-signature": good["webhook-signature"].removeprefix("v1,")},
            {name: value for name, value in good.items() if name != "webhook-id"},
        ):
            async with service.client.post("/api/async", data=body, headers=headers) as answer:
                assert answer.status == 202, headers
                await answer.read()

    async def test_are_taken_by_the_demo_receiver(self, service: Service) -> None:
        async with service.client.post("/webhook-test/mine", data=b"{}", headers=self.signed(b"{}")) as answer:
            assert answer.status == 200
            await answer.read()

    async def test_that_a_relay_passes_on_cancel_nothing(self, settings: Settings, pool: Pool) -> None:
        """The whole way: a receiver of somebody else sends what it gets to a route of this service."""
        answers: list[int] = []

        async def relay(request: web.Request) -> web.Response:
            where, body = f"{service.url}/api/requests/{victim}/cancel", await request.read()
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            async with service.client.post(where, data=body, headers=headers) as answer:
                answers.append(answer.status)
                return web.Response(status=answer.status)

        app = web.Application()
        app.router.add_post("/relay", relay)
        quick = replace(settings, callback_allow=AllowList.parse("127.0.0.0/8"), callback_waits=(0.01,))
        async with TestServer(app, port=free_port()) as other, serving(quick) as service:
            held = {"service_time": {"distribution": "fixed", "mean_ms": 60_000}}
            victim = await submit(service, "/api/async", {**TINY, "simulate": held})
            id = await submit(service, "/api/async", {**TINY, "callback_url": str(other.make_url("/relay"))})
            assert (await service.ended(id))["callback_status"] == "FAILED"
            assert answers == [403, 403, 403]
            assert await pool.fetchval("SELECT status FROM requests WHERE id = $1", victim) != "FAILED"
