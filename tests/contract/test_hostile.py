"""Requests that mean harm: all they get is a 4xx or a closed connection, and the service is as healthy as before."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.api.calls import UNKNOWN
from tests.contract.raw import Reply, connected, exchange, first_reply
from tests.faults.process import ServerProcess
from tests.store.databases import empty_database

HOST = b"Host: 127.0.0.1\r\n"
ROUNDS = 4
# What the allocator keeps for itself in a process of this size; a bomb that is kept would be 20 MB.
MOST_GROWTH = 8_000_000
WAITS_S = 25


@dataclass(frozen=True)
class Attack:
    """Bytes to send, and the statuses that may answer them; 0 is a connection closed without a word."""

    name: str
    data: bytes
    statuses: frozenset[int] = frozenset(range(400, 500)) | {0}


def get(target: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in headers) + b"\r\n"


def post(body: bytes, *headers: bytes, path: bytes = b"/api/sync", kind: bytes = b"application/json") -> bytes:
    lines = (b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *headers)
    return get(path, *lines, method=b"POST") + body


def framed(*headers: bytes, body: bytes = b"") -> bytes:
    """A POST that says itself how long its body is."""
    return get(b"/api/sync", b"Content-Type: application/json", *headers, method=b"POST") + body


def attacks() -> Iterator[Attack]:
    """The corpus."""
    smuggled = b"0\r\n\r\nGET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    for name, data in {
        # The request line
        "nothing but noise": bytes(range(256)) * 4,
        "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 300 + b"\r\n\r\n",
        "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "an unknown version": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
        "no method": b" / HTTP/1.1\r\n" + HOST + b"\r\n",
        "an unknown method": get(b"/api/requests", method=b"BREW"),
        "a method in lower case": get(b"/api/requests", method=b"get"),
        "a method of 5,000 letters": get(b"/", method=b"A" * 5_000),
        "TRACE": get(b"/", method=b"TRACE"),
        "CONNECT": b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        "OPTIONS *": get(b"*", method=b"OPTIONS"),
        "a target without a slash": get(b"api/requests"),
        "a line of 8,190 bytes": get(b"/" + b"a" * 8_190),
        "a query of 8,000 digits": get(b"/api/requests?limit=" + b"9" * 8_000),
        "a query of 1,500 parameters": get(b"/api/requests?" + b"a=1&" * 1_500),
        "blanks in the target": get(b"/api/re quests"),
        # Hosts
        "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
        "two Hosts": get(b"/healthz", b"Host: evil.example"),
        "an empty Host": b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n",
        "the Host of another site": b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "a Host with a user": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1@evil.example\r\n\r\n",
        "a Host without its bracket": b"GET /healthz HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "an absolute target elsewhere": b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        # Headers
        "a header of 8,200 bytes": get(b"/healthz", b"X-Long: " + b"a" * 8_200),
        "200 headers": get(b"/healthz", *(b"X-%d: 1" % n for n in range(200))),
        "a header with NUL": get(b"/healthz", b"X-Bad: a\0b"),
        "a header with a lone CR": get(b"/healthz", b"X-Bad: a\rb"),
        "a header in two lines": get(b"/healthz", b"X-Bad: a\r\n b"),
        "a blank before the colon": get(b"/healthz", b"X-Bad : a"),
        "a header without a name": get(b"/healthz", b": a"),
        "a header name with a slash": get(b"/healthz", b"X/Bad: a"),
        "lines that end in LF": b"GET /healthz HTTP/1.1\nHost: 127.0.0.1\n\n",
        "preferences of nothing but blanks and semicolons": get(
            b"/api/requests/" + UNKNOWN.encode(), b"Prefer: a" + b";  " * 300 + b"@"
        ),
        "preferences that quote without an end": get(
            b"/api/requests/" + UNKNOWN.encode(), b"Prefer: " + b'a="\\",' * 160
        ),
        "a split answer in the request id": get(b"/nowhere", b"X-Request-Id: a\r\nSet-Cookie: b=c"),
        "Expect nonsense": post(b"{}", b"Expect: the-unexpected"),
        # Framing: where does the next request begin?
        "length and chunks": framed(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=smuggled),
        "chunks and length": framed(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=smuggled),
        "two lengths": framed(b"Content-Length: 2", b"Content-Length: 50", body=b"{}"),
        "two lengths in one line": framed(b"Content-Length: 2, 50", body=b"{}"),
        "a negative length": framed(b"Content-Length: -1", body=b"{}"),
        "a length with a plus": framed(b"Content-Length: +2", body=b"{}"),
        "a length in hex": framed(b"Content-Length: 0x2", body=b"{}"),
        "a length of 5,000 digits": framed(b"Content-Length: " + b"9" * 5_000, body=b"{}"),
        "a length beyond the limit": framed(b"Content-Length: 100000000", body=b"{}"),
        "chunks of a strange kind": framed(b"Transfer-Encoding: xchunked", body=smuggled),
        "chunks that are not last": framed(b"Transfer-Encoding: chunked, identity", body=smuggled),
        "chunks twice": framed(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=smuggled),
        "a chunk size that is none": framed(b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
        "a chunk size that overflows": framed(b"Transfer-Encoding: chunked", body=b"f" * 17 + b"\r\n{}\r\n"),
        "a negative chunk size": framed(b"Transfer-Encoding: chunked", body=b"-2\r\n{}\r\n0\r\n\r\n"),
        "a chunk longer than it says": framed(b"Transfer-Encoding: chunked", body=b"1\r\n{}{}\r\n0\r\n\r\n"),
        "100,000 one-byte chunks": framed(b"Transfer-Encoding: chunked", body=b"1\r\n \r\n" * 100_000 + b"0\r\n\r\n"),
        # Paths
        "NUL in a path": get(b"/api/requests/%00"),
        "NUL in a file name": get(b"/api/reports/" + UNKNOWN.encode() + b".csv%00"),
        "a traversal": get(b"/api/reports/../../../../etc/passwd"),
        "an encoded traversal": get(b"/api/reports/..%2f..%2f..%2fetc%2fpasswd"),
        "a doubly encoded traversal": get(b"/api/reports/..%252f..%252fetc%252fpasswd"),
        "a traversal of static files": get(b"/static/x/..%2f..%2fapp.py"),
        "a traversal with backslashes": get(b"/static/x/..\\..\\app.py"),
        "an overlong encoding": get(b"/static/x/%c0%ae%c0%ae/app.py"),
        "a bad escape": get(b"/api/requests/%zz"),
        "half an escape": get(b"/api/requests/%"),
        "an encoded slash": get(b"/api%2frequests"),
        "a surrogate in a path": get(b"/problems/%ed%a0%80"),
        "a template in a path": get(b"/problems/{{7*7}}"),
        # Queries
        "NUL in a query": get(b"/api/requests?status=%00"),
        "NUL in a search": get(b"/?q=%00"),
        "SQL in a query": get(b"/api/requests?status=COMPLETED'%20OR%201=1--"),
        "a bad cursor": get(b"/api/requests?cursor=%zz"),
        "a bad id in a query": get(b"/api/events?request_id=1%27--"),
        "a script of 200 steps": post(b"{}", path=b"/webhook-test/x?script=503" + b",503" * 199),
        # Bodies
        "deep lists": post(b"[" * 60_000),
        "deep objects": post(b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
        "a number of 5,000 digits": post(b'{"simulate":{"seed":' + b"9" * 5_000 + b"}}"),
        "a number beyond doubles": post(b'{"simulate":{"failure_rate":1e999}}'),
        "NaN": post(b'{"simulate":{"failure_rate":NaN}}'),
        "names that are doubled": post(b'{"ledger":"tiny","ledger":"demo"}'),
        "NUL in a text": post(b'{"ledger":"\\u0000"}'),
        "half a surrogate pair": post(b'{"ledger":"\\ud800"}'),
        "bytes that are no UTF-8": post(b'{"ledger":"\xff\xfe"}'),
        "UTF-16": post('{"ledger":"tiny"}'.encode("utf-16")),
        "half a document": post(b'{"ledger":'),
        "a pickle": post(
            b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix", kind=b"application/octet-stream"
        ),
        "XML with an entity": post(
            b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', kind=b"text/xml"
        ),
        "a multipart form": post(b"--x\r\n\r\n", kind=b"multipart/form-data; boundary=x"),
        "a charset that is none": post(b"{}", kind=b"application/json; charset=bogus"),
        "UTF-7": post(b"{}", kind=b"application/json; charset=utf-7"),
        "64 KiB and a byte": post(b" " * (64 * 1024 + 1)),
        "a megabyte": post(b" " * 1_000_000),
        "a gzip bomb": post(gzip.compress(b" " * 20_000_000), b"Content-Encoding: gzip"),
        "a deflate bomb": post(zlib.compress(b" " * 20_000_000), b"Content-Encoding: deflate"),
        "a bomb in a bomb": post(gzip.compress(gzip.compress(b" " * 20_000_000)), b"Content-Encoding: gzip"),
        "gzip that is none": post(b"no such thing", b"Content-Encoding: gzip"),
        "half a gzip": post(gzip.compress(b"{}" * 1_000)[:20], b"Content-Encoding: gzip"),
        "an unknown encoding": post(b"{}", b"Content-Encoding: snappy"),
        "two encodings": post(gzip.compress(b"{}"), b"Content-Encoding: gzip, gzip"),
        "a prototype": post(b'{"__proto__":{"a":1},"constructor":1}'),
        "1,001 account codes": post(
            json.dumps({"report_type": "general_ledger", "account_codes": ["1"] * 1_001}).encode()
        ),
        "a callback to metadata": post(b'{"callback_url":"http://169.254.169.254/"}', path=b"/api/async"),
        "a callback to ourselves": post(b'{"callback_url":"http://127.0.0.1:1/api/sync"}', path=b"/api/async"),
        "a callback to a file": post(b'{"callback_url":"file:///etc/passwd"}', path=b"/api/async"),
        # Keys, sites, forms
        "two keys": post(b"{}", b"X-Idempotency-Key: a", b"X-Idempotency-Key: b"),
        "a key of 300 characters": post(b"{}", b"X-Idempotency-Key: " + b"k" * 300),
        "a key that is no ASCII": post(b"{}", b"X-Idempotency-Key: \xc3\xa9"),
        "a page of another site": post(b"{}", b"Sec-Fetch-Site: cross-site"),
        "a page without an origin": post(b"{}", b"Origin: null"),
        "a form with a bad escape": post(b"mode=%zz%ff", path=b"/", kind=b"application/x-www-form-urlencoded"),
        "a form of 2,000 fields": post(b"a=1&" * 2_000, path=b"/", kind=b"application/x-www-form-urlencoded"),
        "a form to the API": post(b"ledger=tiny", kind=b"application/x-www-form-urlencoded"),
    }.items():
        yield Attack(name, data)


CORPUS = list(attacks())


@pytest.fixture
async def server(server_dsn: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with empty_database(server_dsn) as dsn, ServerProcess(dsn, tmp_path, REPORTSIM_WORKERS="2") as running:
        yield running


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 60
    assert len({attack.name for attack in CORPUS}) == len(CORPUS)


async def test_the_corpus_gets_nothing_but_refusals(server: ServerProcess, subtests: pytest.Subtests) -> None:
    for attack in CORPUS:
        with subtests.test(attack=attack.name):
            reply = await exchange(server.url, attack.data)
            assert reply.status in attack.statuses
            check_refusal(reply)
    await check_health(server)
    before = psutil.Process(server.pid).memory_info().rss
    for _ in range(ROUNDS):
        for some in range(0, len(CORPUS), 10):
            await asyncio.gather(*(exchange(server.url, attack.data) for attack in CORPUS[some : some + 10]))
    await check_health(server)
    grown = psutil.Process(server.pid).memory_info().rss - before
    assert grown < MOST_GROWTH, f"{grown:,} bytes"
    assert "Traceback" not in server.log
    assert '"level": "error"' not in server.log


@pytest.mark.slow
async def test_whoever_takes_too_long_is_let_go(server: ServerProcess) -> None:
    started = time.monotonic()
    replies = await asyncio.gather(
        dripped(server, get(b"/healthz", b"X-Slow: " + b"a" * 200)),
        dripped(server, post(b"{" + b" " * 200)),
        silent(server, b""),
        silent(server, b"GET /healthz HTTP/1.1\r\n" + HOST),
        silent(server, post(b"{}")[:-1]),
        silent(server, framed(b"Transfer-Encoding: chunked", body=b"5\r\n{")),
        silent(server, post(b"{}", b"Expect: 100-continue")[:-2]),
    )
    assert time.monotonic() - started < WAITS_S
    assert [reply.status for reply in replies] == [0, 408, 0, 0, 408, 408, 100]
    await check_health(server)


async def dripped(server: ServerProcess, data: bytes) -> Reply:
    """Sends the last bytes of a request one by one, as slowly as an attacker would."""
    async with connected(server.url) as (reader, writer), asyncio.timeout(WAITS_S):
        writer.write(data[:-180])
        answer = asyncio.create_task(first_reply(reader))
        for byte in data[-180:]:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.wait([answer], timeout=0.5)
        return await answer


async def silent(server: ServerProcess, data: bytes) -> Reply:
    """Sends a part of a request, and then nothing."""
    async with connected(server.url) as (reader, writer), asyncio.timeout(WAITS_S):
        writer.write(data)
        return await first_reply(reader)


def check_refusal(reply: Reply) -> None:
    """What every refusal is: a problem that repeats nothing of what was sent, and tells nothing of the inside."""
    if reply.status:
        assert reply.headers["content-type"].startswith(("application/problem+json", "text/html"))
        assert reply.headers["server"] == "reportsim"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert "set-cookie" not in reply.headers
        for telltale in (b"Traceback", b"aiohttp", b"asyncpg", b"SELECT", b"/reportsim/", b"site-packages"):
            assert telltale not in reply.body


async def check_health(server: ServerProcess) -> None:
    """The service is alive, ready, and does its work."""
    for data in (get(b"/healthz"), get(b"/readyz"), post(b'{"ledger":"tiny"}')):
        assert (await exchange(server.url, data)).status == 200
