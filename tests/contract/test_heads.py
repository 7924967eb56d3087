"""Heads of requests that are long: cookies of other ports pass, and what is too long is said by name."""

import asyncio
import contextlib
import json

import pytest

from reportsim.web.server.request_head import MAX_COOKIES, MAX_HEAD, MAX_LINE
from tests.conftest import Service
from tests.contract.raw import Reply, connected, exchange, first_reply

BROWSER = "Accept: text/html,application/xhtml+xml"


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def cookie(size: int) -> str:
    return "Cookie: " + ("a=" + "x" * size)[:size]


@pytest.mark.parametrize("size", [8_190, 8_300, 20_000, MAX_COOKIES])
async def test_cookies_of_other_ports_are_no_hindrance(service: Service, size: int) -> None:
    for path in ("/", "/healthz", "/static/0/style.css"):
        reply = await exchange(service.url, get(path, BROWSER, cookie(size)))
        assert reply.status == 200


SIZES = [MAX_COOKIES + 1, 100_000, MAX_HEAD, 150_000, 400_000, 2_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["/", "/requests/1", "/api/requests"])
async def test_more_of_them_are_refused_in_the_words_of_the_client(service: Service, size: int, path: str) -> None:
    reply = await exchange(service.url, get(path, BROWSER, cookie(size)))
    if path.startswith("/api/"):
        check_problem(reply, 431, "header-too-large", "Cookie")
    else:
        check_page(reply, 431, "Cookie")
        assert b"Clear the cookies" in reply.body
    check_problem(await exchange(service.url, get(path, cookie(size))), 431, "header-too-large", "Cookie")


@pytest.mark.parametrize("size", [MAX_LINE + 1, 30_000, 200_000, 1_000_000])
async def test_other_headers_and_request_lines_that_are_too_long_are_named(service: Service, size: int) -> None:
    check_page(await exchange(service.url, get("/", BROWSER, f"X-Long: {'y' * size}")), 431, "X-Long")
    reply = await exchange(service.url, get("/api/requests", f"X-Long: {'y' * size}"))
    check_problem(reply, 431, "header-too-large", "X-Long")
    check_page(await exchange(service.url, get(f"/?q={'y' * size}", BROWSER)), 414, "request line")
    reply = await exchange(service.url, get(f"/api/requests?cursor={'y' * size}", BROWSER))
    check_problem(reply, 414, "uri-too-long", "request line")
    reply = await exchange(service.url, get("/", f"X{'y' * size}: 1"))
    check_problem(reply, 431, "header-too-large", "header")


async def test_many_headers_are_too_much_together(service: Service) -> None:
    many = [f"X-{number}: 1" for number in range(150)]
    check_page(await exchange(service.url, get("/", BROWSER, *many)), 431, "headers")
    large = [f"X-{number}: {'y' * 8_000}" for number in range(90)]
    check_page(await exchange(service.url, get("/", BROWSER, *large)), 431, "128 KiB")


async def test_a_head_that_drips_is_bounded_as_well(service: Service) -> None:
    async with connected(service.url) as (reader, writer), asyncio.timeout(10):
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/html\r\n")
        with contextlib.suppress(OSError):
            for number in range(90):
                writer.write(f"X-{number}: {'y' * 4_000}\r\n".encode())
                await writer.drain()
                await asyncio.sleep(0)
        check_page(await first_reply(reader), 431, "128 KiB")
        assert await reader.read() == b""


async def test_after_a_long_head_that_passes_the_next_request_may_be_long_too(service: Service) -> None:
    async with connected(service.url) as (reader, writer), asyncio.timeout(10):
        for _ in range(5):
            writer.write(get("/healthz", cookie(60_000)))
            assert (await first_reply(reader)).status == 200
        # Bodies are no heads.
        body = b" " * 60_000 + b"{}"
        for _ in range(5):
            head = (
                f"POST /api/async HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            writer.write(head.replace("Host: a", "Host: 127.0.0.1").encode() + b"\r\n\r\n" + body[:100])
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(body[100:])
            assert (await first_reply(reader)).status == 202


def check_problem(reply: Reply, status: int, slug: str, named: str) -> None:
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    problem = json.loads(reply.body)
    assert (problem["type"], problem["status"]) == (f"/problems/{slug}", status)
    assert named in problem["detail"] or named == problem.get("header")
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


def check_page(reply: Reply, status: int, named: str) -> None:
    assert reply.status == status
    assert reply.headers["content-type"].startswith("text/html")
    assert named in reply.body.decode()
    assert reply.body.startswith(b"<!doctype html>")
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
