"""How bodies are read: bounded in size, time and depth, and never ambiguous."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from reportsim.web import body as body_reader
from tests.api.calls import held_for
from tests.conftest import Service
from tests.web.raw import connected, first_reply

JSON = {"Content-Type": "application/json"}
LARGEST = 64 * 1024


async def test_only_json_in_utf8_is_read(service: Service, subtests: pytest.Subtests) -> None:
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/octet-stream",
        "application/json; charset=latin-1",
        "application/json; charset=bogus",
        "application/problem+json",
        "nonsense",
    ]:
        with subtests.test(content_type=content_type):
            async with service.client.post("/api/sync", data=b"{}", headers={"Content-Type": content_type}) as answer:
                assert answer.status == 415
                assert answer.headers["Accept-Post"] == "application/json"
                assert (await answer.json())["type"] == "/problems/unsupported-media-type"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'application/json;charset="UTF-8"'])
async def test_utf8_may_be_said(service: Service, content_type: str) -> None:
    body = b'{"ledger": "tiny"}'
    async with service.client.post("/api/sync", data=body, headers={"Content-Type": content_type}) as answer:
        assert answer.status == 200


async def test_a_body_without_a_type_is_not_guessed(service: Service) -> None:
    status, _ = await raw(service, b"Content-Length: 2", b"{}")
    assert status == 415


async def test_reading_resumes_for_a_body_that_arrived_while_the_request_before_it_was_answered(
    service: Service,
) -> None:
    """It fills the buffers, so that reading pauses until the body is wanted."""
    first = json.dumps(held_for(300)).encode()
    large = b" " * 1_000_000
    async with connected(service.url) as (reader, writer), asyncio.timeout(9):
        writer.write(post("/api/sync", first) + post("/api/async", large, b"webhook-signature: v1,AA==\r\n"))
        assert (await first_reply(reader)).status == 200
        assert (await first_reply(reader)).status == 413


def post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    """The bytes of a POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + headers + b"\r\n" + body


async def test_what_is_not_clearly_json_is_malformed(service: Service, subtests: pytest.Subtests) -> None:
    for body in [
        b"{",
        b"nul",
        b" ",
        b"{} {}",
        b"{'ledger': 'demo'}",
        b'{"ledger": "demo",}',
        b'{"ledger": "demo", "ledger": "tiny"}',
        b'{"simulate": {"seed": 1, "seed": 2}}',
        b'{"simulate": {"seed": NaN}}',
        b'{"simulate": {"seed": Infinity}}',
        b'{"simulate": {"failure_rate": -Infinity}}',
        b'{"simulate": {"failure_rate": 1e400}}',
        b'{"simulate": {"seed": ' + b"9" * 5_000 + b"}}",
        b'{"ledger": "nul \\u0000"}',
        b'{"ledger": "half \\ud83d"}',
        b'{"\\udead": 1}',
        b'{"ledger": "\xff"}',
        b'\xef\xbb\xbf{"ledger": "tiny"}',
        b'{"ledger": "tab\t"}',
        b"[" * 60_000,
        b'{"a":' * 33 + b"1" + b"}" * 33,
    ]:
        with subtests.test(body=body):
            async with service.client.post("/api/sync", data=body, headers=JSON) as answer:
                assert answer.status == 400
                assert answer.content_type == "application/problem+json"
                assert (await answer.json())["type"] == "/problems/malformed-request"


async def test_brackets_inside_texts_do_not_count_as_depth(service: Service) -> None:
    body = b'{"ledger": "' + b"[" * 90 + b'"}'
    async with service.client.post("/api/sync", data=body, headers=JSON) as answer:
        assert answer.status == 422


@pytest.mark.parametrize(("size", "status"), [(LARGEST, 200), (LARGEST + 1, 413)])
async def test_a_body_has_at_most_64_kib(service: Service, size: int, status: int) -> None:
    body = b'{"ledger": "tiny"}'.ljust(size)
    async with service.client.post("/api/sync", data=io.BytesIO(body), headers=JSON) as answer:
        assert answer.status == status


async def test_a_body_of_unsaid_length_is_bounded_too(service: Service) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 1024

    async with service.client.post("/api/sync", data=chunks(), headers=JSON) as answer:
        assert answer.status == 413
        assert (await answer.json())["type"] == "/problems/too-large"


async def test_a_compressed_body_counts_as_what_it_becomes(service: Service) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * 20_000_000)
    async with service.client.post("/api/sync", data=io.BytesIO(bomb), headers=headers) as answer:
        assert answer.status == 413
    small = gzip.compress(b'{"ledger": "tiny"}')
    async with service.client.post("/api/sync", data=small, headers=headers) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_cannot_be_decompressed_is_malformed(service: Service, encoding: str) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    async with service.client.post("/api/sync", data=b"no such thing", headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["type"] == "/problems/malformed-request"


async def test_an_announced_excess_is_refused_before_it_arrives(service: Service) -> None:
    status, headers = await raw(service, b"Content-Type: application/json\r\nContent-Length: 100000000", b"{}")
    assert status == 413
    assert headers["connection"] == "close"


async def test_a_body_that_drips_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_reader, "READ_TIMEOUT_S", 0.1)
    status, headers = await raw(service, b"Content-Type: application/json\r\nContent-Length: 50", b"{")
    assert status == 408
    assert headers["connection"] == "close"


async def raw(service: Service, headers: bytes, body: bytes) -> tuple[int, dict[str, str]]:
    """The status and headers that answer a POST which no client library would send."""
    host = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    try:
        writer.write(b"POST /api/sync HTTP/1.1\r\nHost: 127.0.0.1\r\n" + headers + b"\r\n\r\n" + body)
        async with asyncio.timeout(5):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    finally:
        writer.close()
        await writer.wait_closed()
    first, *lines = head.rstrip().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value for name, _, value in pairs}
