"""Whatever a receiver answers is an outcome with its reason; none of it costs memory, or the attempts after it."""

import asyncio
import gzip
import ssl
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.model import CallbackStatus
from reportsim.engine.delivery import connection, http_client
from reportsim.engine.delivery.attempt import AttemptResult, Reason
from reportsim.engine.delivery.http_client import open_client
from reportsim.engine.delivery.response_reader import (
    EXCERPT,
    MOST_ANSWER,
    MOST_HEAD,
    Head,
    HeadReader,
    parse_head,
    read_body,
)
from reportsim.engine.delivery.ssrf_guard import SsrfGuard
from reportsim.settings import Settings
from reportsim.store import callbacks
from reportsim.store.pool import Pool
from tests.conftest import serving
from tests.engine.delivery.wire.certificates import certified
from tests.engine.delivery.wire.names import Asking, Names
from tests.engine.delivery.wire.sockets import (
    OPEN,
    PUBLIC,
    Answer,
    answering,
    closes_its_half,
    hangs,
    post,
    repeats,
    resets,
    says,
    target_of,
)
from tests.engine.jobs import finished, submit
from tests.ports import free_port
from tests.store.rows import new

HEAD = b"HTTP/1.1 200 OK\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\n"
GZIP = HEAD + b"Content-Encoding: gzip\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# A third of a gigabyte when it is decompressed.
BOMB = gzip.compress(bytes(1 << 20), 9) * 320
NAME = "receiver.example"


def whole(head: bytes, body: bytes) -> bytes:
    """An answer with its length."""
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


# By name: what the receiver does, the reason, and the status that was seen.
FAULTS: dict[str, tuple[Answer, Reason, int | None]] = {
    "silence": (hangs, Reason.TIMEOUT, None),
    "status line, a byte at a time": (says(HEAD, then=repeats(b"x", every=0.1)), Reason.TIMEOUT, None),
    "body, a byte at a time": (says(HEAD + b"\r\n", then=repeats(b"x", every=0.1)), Reason.TIMEOUT, 200),
    "body that stops": (says(HEAD + b"Content-Length: 10\r\n\r\nabc", then=hangs), Reason.TIMEOUT, 200),
    "chunk that stops": (says(CHUNKED + b"5\r\nabc", then=hangs), Reason.TIMEOUT, 200),
    "a chunk's extension, a byte at a time": (
        says(CHUNKED + b"1;", then=repeats(b"x", every=0.1)),
        Reason.TIMEOUT,
        200,
    ),
    "RST": (resets, Reason.RESET, None),
    "FIN": (says(), Reason.RESET, None),
    "FIN in the status line": (says(b"HTTP/1.1 200 OK"), Reason.RESET, None),
    "FIN behind continue": (says(b"HTTP/1.1 100 Continue\r\n\r\n"), Reason.RESET, None),
    "half-closed": (closes_its_half, Reason.RESET, None),
    "10 MB of headers": (
        says(HEAD, *[b"X-%d: " % n + b"y" * 1000 + b"\r\n" for n in range(10_000)]),
        Reason.RESET,
        None,
    ),
    "a header of 10 MB": (says(HEAD + b"X: ", *[b"y" * 10_000] * 1000), Reason.RESET, None),
    "continue without end": (says(then=repeats(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)), Reason.RESET, None),
    "empty lines without end": (says(then=repeats(b"\r\n" * 1000)), Reason.RESET, None),
    "bytes of nothing": (says(b"\x00\x01\x02\xff" * 1000), Reason.RESET, None),
    "SSH": (says(b"SSH-2.0-OpenSSH_9.2\r\n", then=hangs), Reason.RESET, None),
    "HTTP/2": (says(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0", then=hangs), Reason.RESET, None),
    "HTTP/0.9": (says(b"<html>hello</html>"), Reason.RESET, None),
    "a status of four digits": (says(whole(b"HTTP/1.1 2000 OK\r\n", b"")), Reason.RESET, None),
    "a status below 100": (says(whole(b"HTTP/1.1 099 OK\r\n", b"")), Reason.RESET, None),
    "switching protocols": (
        says(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", then=hangs),
        Reason.STATUS,
        101,
    ),
    "an error and a gzip bomb": (says(whole(BUSY + b"Content-Encoding: gzip\r\n", BOMB)), Reason.STATUS, 503),
    "an error and a body without end": (says(BUSY + b"\r\n", then=repeats(b"x" * 65_536)), Reason.STATUS, 503),
    "an error and bad chunks": (says(BUSY + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), Reason.STATUS, 503),
    "an error and two lengths": (says(BUSY + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabc"), Reason.STATUS, 503),
    "no such status": (says(whole(b"HTTP/1.1 999 What\r\n", b"")), Reason.STATUS, 999),
}
# By name: an answer that counts, and what of it is kept.
ACCEPTED: dict[str, tuple[Answer, str]] = {
    "gzip": (says(whole(GZIP, gzip.compress("grüße".encode()))), "grüße"),
    "gzip bomb": (says(whole(GZIP, BOMB)), "\ufffd" * EXCERPT),
    "gzip bomb in chunks": (
        says(GZIP + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BOMB), BOMB)),
        "\ufffd" * EXCERPT,
    ),
    "deflate bomb": (
        says(whole(HEAD + b"Content-Encoding: deflate\r\n", zlib.compress(bytes(100 << 20)))),
        "\ufffd" * EXCERPT,
    ),
    "gzip that is none": (says(whole(GZIP, b"not gzip")), "not gzip"),
    "gzip cut short": (says(whole(GZIP, gzip.compress(b"hello")[:-8])), "hello"),
    "an encoding that nobody asked for": (says(whole(HEAD + b"Content-Encoding: br\r\n", b"\x0b\x02")), "\x0b\x02"),
    "a body without end": (says(HEAD + b"\r\n", then=repeats(b"x" * 65_536)), "x" * EXCERPT),
    "a body of 100 GB": (
        says(HEAD + b"Content-Length: 99999999999\r\n\r\n", then=repeats(b"x" * 65_536)),
        "x" * EXCERPT,
    ),
    "half-closed behind the answer": (says(HEAD + b"\r\nabc", then=closes_its_half), "abc"),
    "a thousand times continue": (says(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, whole(HEAD, b"abc")), "abc"),
    "other information before": (says(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", whole(HEAD, b"abc")), "abc"),
    "a charset that is none": (
        says(whole(HEAD + b"Content-Type: text/plain; charset=x\r\n", b"\xff\0a")),
        "\ufffd\ufffda",
    ),
    "headers beyond ASCII": (says(whole(HEAD + b"X: \xff\xfe\r\nRetry-After: \xff\r\n", b"")), ""),
    # What receivers do wrong behind a status that has said all.
    "a header of 60 KB": (says(whole(HEAD + b"X: " + b"y" * 60_000 + b"\r\n", b"abc")), "abc"),
    "1,000 headers": (says(whole(HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(1000)), b"abc")), "abc"),
    "a reason of 10 KB": (says(whole(b"HTTP/1.1 200 " + b"y" * 10_000 + b"\r\n", b"abc")), "abc"),
    "a length that is too small": (says(HEAD + b"Content-Length: 5\r\n\r\nhello, world"), "hello"),
    "a length that is too large": (says(HEAD + b"Content-Length: 10\r\n\r\nabc"), "abc"),
    "two equal lengths": (says(HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", then=hangs), "abc"),
    "a list of equal lengths": (says(HEAD + b"Content-Length: 3, 3\r\n\r\nabc", then=hangs), "abc"),
    "two lengths": (says(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), "hello"),
    "two lengths and silence": (
        says(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", then=hangs),
        "hello",
    ),
    "a length that is none": (says(HEAD + b"Content-Length: abc\r\n\r\nhello"), "hello"),
    "a negative length": (says(HEAD + b"Content-Length: -1\r\n\r\nhello", then=hangs), "hello"),
    "length and chunks": (
        says(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", then=hangs),
        "abc",
    ),
    "a coding that is none": (
        says(HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", then=hangs),
        "abc",
    ),
    "bad chunks": (says(CHUNKED + b"zz\r\nhello", then=hangs), ""),
    "a chunk that is cut off": (says(CHUNKED + b"5\r\nabc"), "abc"),
    "no last chunk": (says(CHUNKED + b"3\r\nabc\r\n"), "abc"),
    "chunks without the last line": (says(CHUNKED + b"3\r\nabc\r\n0\r\n", then=hangs), "abc"),
    "chunks by LF": (says(CHUNKED + b"3\nabc\n0\n\n", then=hangs), "abc"),
    "trailers without end": (says(CHUNKED + b"1\r\na\r\n0\r\n", then=repeats(b"T: y\r\n" * 1000)), "a"),
    "a chunk's extension without end": (says(CHUNKED + b"1;", then=repeats(b"x" * 1000)), ""),
    "RST in the body": (says(HEAD + b"Content-Length: 10\r\n\r\nabc", then=resets), "abc"),
    "FIN in the head": (says(HEAD), ""),
    "FIN in the body": (says(HEAD + b"Content-Length: 10\r\n\r\nabc"), "abc"),
    "half-closed in the body": (says(HEAD + b"Content-Length: 10\r\n\r\nabc", then=closes_its_half), "abc"),
    "more behind the answer": (says(whole(HEAD, b"abc") + b"HTTP/1.1 500 What\r\n\r\n", then=hangs), "abc"),
    "an empty line before": (says(b"\r\n" + whole(HEAD, b"abc"), then=hangs), "abc"),
    "lines by LF": (says(b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", then=hangs), "abc"),
    "a fold": (says(whole(HEAD + b"X: a\r\n b\r\n\tc\r\n", b"abc"), then=hangs), "abc"),
    "a folded length": (says(HEAD + b"Content-Length:\r\n 3\r\n\r\nabc", then=hangs), "abc"),
    "a line that is no header": (says(whole(HEAD + b"what is this\r\n: x\r\n", b"abc"), then=hangs), "abc"),
    "NUL in a header": (says(whole(HEAD + b"X: a\0b\r\n", b"abc"), then=hangs), "abc"),
    "HTTP/1.0": (says(b"HTTP/1.0 200 OK\r\n\r\nabc"), "abc"),
    "no reason": (says(whole(b"HTTP/1.1 200\r\n", b"abc"), then=hangs), "abc"),
    "lower case": (says(whole(b"http/1.1 200 ok\r\n", b"abc"), then=hangs), "abc"),
    "another version": (says(whole(b"HTTP/2.0 200 OK\r\n", b"abc"), then=hangs), "abc"),
}
# Statuses that have no body, whatever is said or sent.
BODILESS = {
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks that do not come": b"Transfer-Encoding: chunked\r\n\r\n",
    "a length": b"Content-Length: 5\r\n\r\nhello",
    "a length alone": b"Content-Length: 5\r\n\r\n",
    "nothing": b"\r\n",
    "a bad length": b"Content-Length: x\r\n\r\n",
}


async def outcome_of(answer: Answer, *, timeout: float = 5) -> AttemptResult:
    """One attempt at a receiver of one's own."""
    async with answering(answer) as raw, open_client(SsrfGuard(OPEN, [])) as session:
        return await post(session, target_of(f"http://{PUBLIC}:{raw.port}/hook"), timeout=timeout)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_a_failed_attempt_with_its_reason(name: str) -> None:
    answer, reason, status = FAULTS[name]
    timeout = 0.5 if reason is Reason.TIMEOUT else 5
    began = time.monotonic()
    outcome = await outcome_of(answer, timeout=timeout)
    assert (outcome.success, outcome.final, outcome.reason) == (False, False, reason)
    # How far the client comes before it sees the fault is up to how the bytes arrive.
    assert outcome.status_code == status or (reason is Reason.RESET and outcome.status_code in {None, 200})
    assert outcome.remote_ip == PUBLIC
    assert outcome.error_message
    assert outcome.error_message.endswith(".")
    assert outcome.response_time_ms / 1000 <= time.monotonic() - began < timeout + 2


@pytest.mark.parametrize("name", ACCEPTED)
async def test_an_answer_counts_by_its_status_and_is_kept_in_part(name: str) -> None:
    answer, kept = ACCEPTED[name]
    outcome = await outcome_of(answer)
    assert (outcome.success, outcome.status_code, outcome.reason) == (True, 200, None)
    assert outcome.excerpt == kept


def hold_loop(seconds: float) -> None:
    """Lets what happens meanwhile come to the loop at once."""
    time.sleep(seconds)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 2",
        HEAD + b"X: ",
        b"HTTP/1.1 100 Continue\r\n",
        HEAD + b"Content-Length: 10\r\n\r\n",
        HEAD + b"\r\n",
        CHUNKED + b"1",
        CHUNKED + b"5\r\na",
        CHUNKED + b"1\r\na",
    ],
)
async def test_the_deadline_is_kept_though_something_arrives_at_that_moment(head: bytes) -> None:
    """The loop sees both at once: the reader is awake already when its time is over."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await asyncio.sleep(0.1)
        writer.write(b"5")
        hold_loop(0.5)
        await hangs(reader, writer)

    async with asyncio.timeout(20):
        outcome = await outcome_of(answer, timeout=0.4)
    assert (outcome.success, outcome.reason) == (False, Reason.TIMEOUT)


@pytest.mark.parametrize("name", BODILESS)
async def test_no_content_is_waited_for_behind_204(name: str) -> None:
    outcome = await outcome_of(says(b"HTTP/1.1 204 No Content\r\n" + BODILESS[name], then=hangs))
    assert (outcome.success, outcome.status_code, outcome.excerpt) == (True, 204, "")


@pytest.mark.parametrize("body", [b"Content-Length: 9\r\n\r\nabc", b"Content-Length: x\r\n\r\n", b"\r\n"])
@pytest.mark.parametrize(("status", "retry_after", "final"), [(429, 7, False), (503, 7, False), (410, None, True)])
async def test_other_statuses_mean_what_they_say_whatever_their_bodies_are_like(
    status: int, retry_after: float | None, final: bool, body: bytes
) -> None:
    answer = says(b"HTTP/1.1 %d\r\nX: %s\r\nRetry-After: 7\r\n" % (status, b"y" * 20_000) + body, then=hangs)
    outcome = await outcome_of(answer, timeout=1)
    assert (outcome.reason, outcome.status_code) == (Reason.STATUS, status)
    assert (outcome.retry_after, outcome.final) == (retry_after, final)


async def test_the_head_is_read_up_to_its_bound() -> None:
    room = MOST_HEAD - len(HEAD + b"X: \r\nContent-Length: 0\r\n\r\n")
    for size, success in ((room, True), (room + 1, False)):
        outcome = await outcome_of(says(whole(HEAD + b"X: " + b"y" * size + b"\r\n", b""), then=hangs))
        assert outcome.success is success


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"a:\n" * 20_000 + b"\n",
        HEAD + b"X: y\n" + b" z\n" * 20_000 + b"\n",
        b"HTTP/1.1 100\n\n" * 4_000 + HEAD + b"\n",
        CHUNKED + b"1\na\n" * 13_000 + b"0\n",
    ],
    ids=["headers", "folds", "informational", "chunks"],
)
async def test_an_answer_of_very_many_pieces_lets_others_have_their_turn(answer: bytes) -> None:
    """All of it has arrived before it is read: nothing but the reading itself gives way."""
    reader = asyncio.StreamReader(limit=MOST_HEAD)
    reader.feed_data(answer)
    reader.feed_eof()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    try:
        head = await HeadReader(reader).read()
        await read_body(reader, head)
    finally:
        counting.cancel()
    assert head.status == 200
    assert turns >= answer.count(b"\n") / 500


@given(
    st.sampled_from(["1.0", "1.1"]),
    st.integers(200, 999),
    st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n")),
    st.lists(
        st.tuples(
            st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", fullmatch=True),
            st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n")),
        )
    ),
)
def test_a_strict_head_is_the_same_at_once_and_by_the_line(
    version: str, status: int, phrase: str, fields: list[tuple[str, str]]
) -> None:
    lines = "".join(f"{name}:{value}\r\n" for name, value in fields)
    text = f"HTTP/{version} {status} {phrase}\r\n{lines}\r\n".encode("latin-1")

    async def by_the_line() -> Head:
        reader = asyncio.StreamReader(limit=MOST_HEAD)
        reader.feed_data(text + b"body")
        return await HeadReader(reader).read()

    assert parse_head(text) == asyncio.run(by_the_line())
    assert parse_head(text[:-1]) is None
    assert parse_head(text + b"body") is None


async def test_no_answer_costs_memory() -> None:
    """The bombs, bodies and headers without end, each thirty times; more than the bound is never held."""
    slow = {name for name, (_, reason, _) in FAULTS.items() if reason is Reason.TIMEOUT}
    answers = {name: case[0] for name, case in FAULTS.items()} | {name: case[0] for name, case in ACCEPTED.items()}
    costly = {name for name in answers if any(word in name for word in ("bomb", "MB", "GB", "without end"))}
    heavy = [answers[name] for name in sorted(costly - slow)]
    assert len(heavy) >= 10
    process = psutil.Process()
    for answer in heavy:
        await outcome_of(answer)
    before = process.memory_info().rss
    for _ in range(30):
        for answer in heavy:
            await outcome_of(answer)
    assert process.memory_info().rss - before < 40 << 20


async def test_the_answer_is_read_up_to_its_bound() -> None:
    """What comes behind it has no say, however slowly it comes."""
    behind = says(HEAD + b"\r\n" + b"x" * MOST_ANSWER, then=hangs)
    assert (await outcome_of(behind)).success
    before = says(HEAD + b"\r\n" + b"x" * (MOST_ANSWER - 1), then=hangs)
    assert (await outcome_of(before, timeout=0.5)).reason is Reason.TIMEOUT


async def test_nobody_there_is_a_failure_to_connect() -> None:
    async with open_client(SsrfGuard(OPEN, [])) as session:
        outcome = await post(session, target_of(f"http://{PUBLIC}:{free_port()}/"))
    assert (outcome.reason, outcome.status_code, outcome.remote_ip) == (Reason.CONNECT, None, PUBLIC)


async def test_a_cookie_is_not_kept() -> None:
    cookie = says(whole(HEAD + b"Set-Cookie: a=b; Path=/\r\n", b""))
    async with answering(cookie) as raw, open_client(SsrfGuard(OPEN, [])) as session:
        for _ in range(2):
            await post(session, target_of(f"http://{PUBLIC}:{raw.port}/"))
        assert len(raw.heads) == 2
        assert not any(b"cookie" in head.lower() for head in raw.heads)


async def test_what_is_sent_is_a_plain_post() -> None:
    async with answering(says(whole(HEAD, b""))) as raw, open_client(SsrfGuard(OPEN, [])) as session:
        await post(session, target_of(f"http://{PUBLIC}:{raw.port}/a%20b%2Fc?d=%2B%26#e"))
    first, *lines = raw.heads[0].decode().split("\r\n")
    assert first == "POST /a%20b%2Fc?d=%2B%26 HTTP/1.1"
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    assert headers == {
        "host": f"{PUBLIC}:{raw.port}",
        "user-agent": "reportsim",
        "content-type": "application/json",
        "content-length": "2",
        "accept": "*/*",
        "webhook-id": "msg_1",
    } | {name: value for name, value in headers.items() if name == "connection"}


async def test_an_error_that_nobody_thought_of_is_an_outcome_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> str:
        raise LookupError("unheard of")

    monkeypatch.setattr(connection, "read_body", fail)
    outcome = await outcome_of(says(whole(HEAD, b"")))
    assert (outcome.success, outcome.reason) == (False, Reason.RESET)
    assert "LookupError" in (outcome.error_message or "")


class TestTls:
    async def test_a_certificate_that_nobody_trusts_is_a_failure(self, tmp_path: Path) -> None:
        context, _ = certified(tmp_path, PUBLIC)
        async with answering(hangs, tls=context) as raw, open_client(SsrfGuard(OPEN, [])) as session:
            outcome = await post(session, target_of(f"https://{PUBLIC}:{raw.port}/"))
            assert raw.heads == []
        assert outcome.reason is Reason.TLS
        assert "self-signed" in (outcome.error_message or "").replace(" ", "-")

    @pytest.mark.parametrize(("name", "reason"), [(NAME, None), (f"other.{NAME}", Reason.TLS)])
    async def test_a_certificate_must_be_of_the_name_and_not_of_the_address(
        self, tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch, name: str, reason: Reason | None
    ) -> None:
        context, certificate = certified(tmp_path, NAME)
        trusting = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(http_client, "TLS_CONTEXT", trusting)
        names.script = [[PUBLIC]]
        async with (
            answering(says(whole(HEAD, b"")), tls=context) as raw,
            open_client(SsrfGuard(OPEN, []), Asking(names)) as session,
        ):
            outcome = await post(session, target_of(f"https://{name}:{raw.port}/"))
            assert len(raw.heads) == (reason is None)
        assert outcome.reason == reason
        assert reason is None or "not valid for" in (outcome.error_message or "")

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (says(b"HTTP/1.1 400 This is HTTP\r\n\r\n"), Reason.TLS),
            (says(b"\x15\x03\x03\x00\x02\x02\x28"), Reason.TLS),
            (hangs, Reason.TIMEOUT),
        ],
        ids=["HTTP", "alert", "silence"],
    )
    async def test_no_handshake_is_a_failure(self, answer: Answer, reason: Reason) -> None:
        async with answering(answer, until=b"") as raw, open_client(SsrfGuard(OPEN, [])) as session:
            outcome = await post(session, target_of(f"https://{PUBLIC}:{raw.port}/"), timeout=0.5)
        assert (outcome.reason, outcome.status_code) == (reason, None)


async def test_the_series_goes_on_after_invalid_tls(settings: Settings, pool: Pool, tmp_path: Path) -> None:
    context, _ = certified(tmp_path, PUBLIC)
    quick = replace(settings, callback_allow=OPEN, callback_waits=(0.01,), callback_attempts=2)
    async with answering(hangs, tls=context) as raw, serving(quick) as service:
        request = await submit(service.engine, new(callback_url=f"https://{PUBLIC}:{raw.port}/"))
        assert (await finished(pool, request)).callback_status is CallbackStatus.FAILED
        assert raw.heads == []
    logs = await callbacks.logs(pool, request.id)
    assert [(log.attempt_number, log.reason, log.remote_ip) for log in logs] == [(1, "tls", PUBLIC), (2, "tls", PUBLIC)]


def at_first(fault: Answer) -> Answer:
    """Has a fault, and none any more the next time."""
    faults = iter([fault])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(faults, says(whole(HEAD, b"")))(reader, writer)

    return answer


async def test_the_series_goes_on_after_every_fault(settings: Settings, pool: Pool) -> None:
    """All at once, each with a receiver of its own: the attempt is logged, and the next one is made."""
    quick = replace(settings, callback_allow=OPEN, callback_waits=(0.01,), callback_timeout=2.0)

    async def deliver(engine: Any, name: str) -> None:
        answer, reason, status = FAULTS[name]
        async with answering(at_first(answer)) as raw:
            request = await submit(engine, new(callback_url=f"http://{PUBLIC}:{raw.port}/"))
            done = await finished(pool, request, timeout=30)
            assert len(raw.heads) == 2
        assert (done.callback_status, done.callback_attempts) == (CallbackStatus.SUCCESS, 2), name
        first, second = await callbacks.logs(pool, request.id)
        assert (first.success, first.reason) == (False, reason), name
        assert first.status_code in {status, None, 200}
        assert first.next_attempt_at is not None
        assert second.success

    async with serving(quick) as service, asyncio.TaskGroup() as group:
        for name in FAULTS:
            group.create_task(deliver(service.engine, name))
