"""Connections are kept for the next callback, and never at the cost of an answer or of a check."""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.callback_policy.urls import CallbackTarget, OwnReceiver
from reportsim.core.model import CallbackStatus
from reportsim.engine.delivery import connection_pool, http_client, ssrf_guard
from reportsim.engine.delivery.attempt import Reason
from reportsim.engine.delivery.http_client import KEPT_S, open_client
from reportsim.engine.delivery.response_reader import MOST_ANSWER
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
    resets,
    says,
    target_of,
)
from tests.engine.jobs import finished, submit
from tests.ports import free_port
from tests.store.rows import new

NAME = "receiver.example"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def whole(body: bytes, head: bytes = OK) -> bytes:
    """An answer with its length."""
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@dataclass
class Receiver:
    """Reads whole requests and answers them by a script, with the number of the connection and that of the request."""

    script: Callable[[int, int], Answer]
    port: int = 0
    requests: list[int] = field(default_factory=list)  # how many each connection has had
    ended: list[asyncio.Event] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    reads: bool = True

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, ended = len(self.requests), asyncio.Event()
        self.requests.append(0)
        self.ended.append(ended)
        self.writers.append(writer)
        try:
            while not writer.is_closing():
                if self.reads:
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                self.requests[connection] += 1
                await self.script(connection, self.requests[connection] - 1)(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            # It was only opened, or reset after the answer before.
            pass
        finally:
            ended.set()
            writer.transport.abort()


@contextlib.asynccontextmanager
async def receiving(
    script: Callable[[int, int], Answer], *, host: str = PUBLIC, tls: ssl.SSLContext | None = None, reads: bool = True
) -> AsyncIterator[Receiver]:
    """A receiver at the address that may be called."""
    receiver = Receiver(script, free_port(), reads=reads)
    tasks = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.CancelledError):
            await receiver.accept(reader, writer)

    server = await asyncio.start_server(accept, host, receiver.port, ssl=tls)
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()  # type: ignore[union-attr]
        await asyncio.gather(*tasks, return_exceptions=True)  # type: ignore[arg-type]
        await asyncio.sleep(0)


def always(*parts: bytes) -> Callable[[int, int], Answer]:
    """The same answer to every request."""
    return lambda connection, request: says(*parts)


def closes(then: Answer | None = None) -> Answer:
    """Ends the connection by FIN, or otherwise."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return then or answer


class Hours:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


KEPT = {
    "a length": whole(b"abc"),
    "an empty body": whole(b""),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no content and its length": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "chunks": CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
    "no chunks": CHUNKED + b"0\r\n\r\n",
    "information before": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + whole(b"abc"),
    "HTTP/1.0 that is kept": whole(b"abc", b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n"),
    "no reason": whole(b"abc", b"HTTP/1.1 200\r\n"),
    "an error": whole(b"abc", b"HTTP/1.1 503 Busy\r\n"),
    "a time to stay": whole(b"abc", OK + b"Keep-Alive: timeout=5, max=100\r\n"),
}
LAST = {
    "close": whole(b"abc", OK + b"Connection: close\r\n"),
    "close among others": whole(b"abc", OK + b"Connection: x\r\nconnection: Keep-Alive, Close\r\n"),
    "HTTP/1.0": whole(b"abc", b"HTTP/1.0 200 OK\r\n"),
    "another version": whole(b"abc", b"HTTP/1.2 200 OK\r\n"),
    "lower case": whole(b"abc", b"http/1.1 200 ok\r\n"),
    "no time to stay": whole(b"abc", OK + b"Keep-Alive: timeout=0\r\n"),
    "more behind": whole(b"abc") + whole(b"stolen"),
    "a byte behind": whole(b"abc") + b"\n",
    "more behind chunks": CHUNKED + b"0\r\n\r\n" + whole(b"stolen"),
    "more behind no content": b"HTTP/1.1 204 No Content\r\n\r\n" + whole(b"stolen"),
    "no content and a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
    "no content and chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "length and chunks": whole(b"5\r\nabcde\r\n0\r\n\r\n", OK + b"Transfer-Encoding: chunked\r\n"),
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": OK + b"Content-Length: 3, 3\r\n\r\nabc",
    "a coding that is none": whole(b"abc", OK + b"Transfer-Encoding: identity\r\n"),
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "chunks by LF": CHUNKED + b"3\nabc\n0\n\n",
    "a chunk that is too long": CHUNKED + b"3\r\nabcde\r\n0\r\n\r\n",
    "bad chunks": CHUNKED + b"zz\r\n",
    "a bad length": OK + b"Content-Length: +3\r\n\r\nabc",
    "a body beyond the bound": whole(b"x" * (MOST_ANSWER + 1)),
    "lines by LF": b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    "one line by LF": whole(b"abc", OK + b"X: y\n"),
    "a fold": whole(b"abc", OK + b"X: y\r\n z\r\n"),
    "a blank before the colon": OK + b"Content-Length : 3\r\n\r\nabc",
    "a line that is no header": whole(b"abc", OK + b"what is this\r\n"),
    "CR in a header": whole(b"abc", OK + b"X: y\rContent-Length: 9\r\n"),
    "NUL in a header": whole(b"abc", OK + b"X: a\0b\r\n"),
}


class TestAnswers:
    @pytest.mark.parametrize("name", KEPT)
    async def test_that_end_beyond_doubt_leave_the_connection_to_the_next_request(self, name: str) -> None:
        async with receiving(always(KEPT[name])) as receiver, open_client(SsrfGuard(OPEN, [])) as client:
            outcomes = [await post(client, target_of(f"http://{PUBLIC}:{receiver.port}/")) for _ in range(3)]
        assert {outcome.reason for outcome in outcomes} == {Reason.STATUS if name == "an error" else None}
        assert {outcome.remote_ip for outcome in outcomes} == {PUBLIC}
        assert receiver.requests == [3]

    @pytest.mark.parametrize("name", LAST)
    async def test_of_any_other_kind_are_the_last_ones_of_their_connection(self, name: str) -> None:
        """So that nothing in them, and nothing behind them, is taken for the answer to the next request."""
        answers = [LAST[name], whole(b"second")]
        async with (
            receiving(lambda connection, _: says(answers[connection], then=hangs)) as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            first, second = await post(client, target, timeout=1), await post(client, target)
        assert first.status_code in {200, 204, 101}
        assert (second.success, second.excerpt) == (True, "second")
        assert receiver.requests == [1, 1]

    async def test_without_a_length_are_the_last_ones_of_their_connection(self) -> None:
        async with (
            receiving(lambda *_: says(OK + b"\r\nabc", then=closes())) as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            for _ in range(2):
                assert (await post(client, target_of(f"http://{PUBLIC}:{receiver.port}/"))).excerpt == "abc"
        assert receiver.requests == [1, 1]

    @pytest.mark.parametrize("is_seen", [True, False], ids=["seen by the loop", "not seen yet"])
    @pytest.mark.parametrize("said", [b"HTTP/1.1 500 Stolen\r\nContent-Length: 0\r\n\r\n", b"\r\n", b"H"])
    async def test_that_nobody_has_asked_for_are_no_answers(self, said: bytes, is_seen: bool) -> None:
        async with receiving(always(whole(b"abc"))) as receiver, open_client(SsrfGuard(OPEN, [])) as client:
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            await post(client, target)
            os.write(receiver.writers[0].get_extra_info("socket").fileno(), said)
            if is_seen:
                async with asyncio.timeout(5):
                    await receiver.ended[0].wait()
            assert (await post(client, target)).success
        assert receiver.requests == [1, 1]

    async def test_that_come_while_the_request_is_still_being_sent_end_the_connection(self) -> None:
        """Most of the request cannot have been read."""
        body = b"x" * (64 << 20)
        async with (
            answering(says(whole(b"abc"), then=hangs), until=b"\r\n\r\n") as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            dial = ssrf_guard.current.set(ssrf_guard.Dial(target))
            response = await client.post(target, body, {}, asyncio.get_running_loop().time() + 5)
            assert await response.read_excerpt() == "abc"
            client.release(response, target)
            ssrf_guard.current.reset(dial)
            assert len(client.pool) == 0


# How far a receiver comes before it ends the connection, what it has said until then, and what that is worth.
POINTS: dict[str, tuple[bytes, bool | None]] = {
    "behind the request": (b"", None),
    "in the status line": (b"HTTP/1.1 2", False),
    "behind a hint": (b"HTTP/1.1 100 Continue\r\n\r\n", False),
    "behind the status line": (OK, True),
    "behind the head": (OK + b"Content-Length: 3\r\n\r\n", True),
    "in a chunk": (CHUNKED + b"5\r\nab", True),
    "behind the last chunk": (CHUNKED + b"2\r\nab\r\n0\r\n", True),
    "behind the answer": (whole(b"ab"), True),
}
WAYS = {"FIN": closes(), "RST": resets, "half": closes_its_half}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("point", POINTS)
class TestReceiversThatClose:
    async def test_a_kept_connection_are_called_once_more_if_they_have_said_nothing(self, point: str, how: str) -> None:
        said, is_success = POINTS[point]

        def script(connection: int, request: int) -> Answer:
            return says(said, then=WAYS[how]) if (connection, request) == (0, 1) else says(whole(b"abc"))

        async with receiving(script) as receiver, open_client(SsrfGuard(OPEN, [])) as client:
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            _, ended, after = [await post(client, target) for _ in range(3)]
        assert ended.success is (is_success is not False)
        assert ended.reason is (Reason.RESET if is_success is False else None)
        assert ended.remote_ip == PUBLIC
        assert after.success
        assert receiver.requests == ([2, 2] if is_success is None else [2, 1])

    async def test_a_new_connection_are_not(self, point: str, how: str) -> None:
        said, is_success = POINTS[point]
        async with (
            receiving(lambda *_: says(said, then=WAYS[how])) as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            outcome = await post(client, target_of(f"http://{PUBLIC}:{receiver.port}/"))
        assert outcome.success is bool(is_success)
        assert outcome.reason is (None if is_success else Reason.RESET)
        assert receiver.requests == [1]


class TestRedialing:
    @pytest.mark.parametrize("how", ["FIN", "RST"])
    async def test_follows_a_connection_that_was_closed_while_it_was_idle(self, how: str) -> None:
        def script(connection: int, _: int) -> Answer:
            return says(whole(b"abc"), then=WAYS[how] if connection == 0 else None)

        async with receiving(script) as receiver, open_client(SsrfGuard(OPEN, [])) as client:
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            await post(client, target)
            async with asyncio.timeout(5):
                await receiver.ended[0].wait()
            assert [(await post(client, target)).success for _ in range(2)] == [True, True]
        assert receiver.requests == [1, 2]

    async def test_follows_a_connection_that_is_closed_with_the_request_unread(self) -> None:
        async with (
            receiving(lambda connection, _: says(whole(b"abc"), then=unread(connection)), reads=False) as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            assert [(await post(client, target)).success for _ in range(3)] == [True, True, True]
        assert len(receiver.requests) > 1

    async def test_is_done_once(self) -> None:
        def script(connection: int, request: int) -> Answer:
            return says(whole(b"abc")) if (connection, request) == (0, 0) else closes()

        async with receiving(script) as receiver, open_client(SsrfGuard(OPEN, [])) as client:
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            outcomes = [await post(client, target) for _ in range(2)]
        assert [outcome.reason for outcome in outcomes] == [None, Reason.RESET]
        assert receiver.requests == [2, 1]

    async def test_looks_the_name_up_again(self, names: Names) -> None:
        names.script = [[PUBLIC], ["127.0.0.1"]]
        async with (
            receiving(lambda _, request: says(whole(b"abc")) if request == 0 else closes()) as receiver,
            open_client(SsrfGuard(OPEN, []), Asking(names)) as client,
        ):
            outcomes = [await post(client, target_of(f"http://{NAME}:{receiver.port}/")) for _ in range(2)]
        assert [(each.reason, each.remote_ip) for each in outcomes] == [(None, PUBLIC), (Reason.REFUSED, None)]

    async def test_follows_no_silence(self) -> None:
        async with (
            receiving(lambda _, request: says(whole(b"abc")) if request == 0 else hangs) as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            await post(client, target)
            assert (await post(client, target, timeout=0.2)).reason is Reason.TIMEOUT
            assert len(client.pool) == 0
        assert receiver.requests == [2]

    async def test_follows_an_idle_connection_that_the_receiver_has_waited_for_too_long(self) -> None:
        late = says(whole(b"", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"), then=closes())
        async with (
            receiving(lambda _, request: says(whole(b"abc")) if request == 0 else late) as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            assert [(await post(client, target)).status_code for _ in range(2)] == [200, 200]
        assert receiver.requests == [2, 1]
        async with receiving(lambda *_: late) as receiver, open_client(SsrfGuard(OPEN, [])) as client:
            assert (await post(client, target_of(f"http://{PUBLIC}:{receiver.port}/"))).status_code == 408
        assert receiver.requests == [1]


def unread(connection: int) -> Answer:
    """Ends the connection when the next request has arrived, and before it is read."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connection == 0:
            await reader.readuntil(b"\r\n\r\n{}")
            await reader.read(1)
            await resets(reader, writer)
        else:
            await reader.readuntil(b"\r\n\r\n{}")

    return answer


class TestTimes:
    async def test_of_answers_are_each_their_own(self) -> None:
        """What is left of one request's time neither ends the idle connection nor the answer to the next one."""

        async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.3)
            writer.write(whole(b"late"))

        async with (
            receiving(lambda _, request: [says(whole(b"abc")), late, late][request]) as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            assert (await post(client, target, timeout=1)).success
            await asyncio.sleep(1.1)
            assert (await post(client, target, timeout=30)).excerpt == "late"
            assert (await post(client, target, timeout=0.1)).reason is Reason.TIMEOUT
        assert receiver.requests == [3]

    async def test_run_on_while_a_connection_is_redialed(self) -> None:
        async with (
            receiving(lambda _, request: says(whole(b"abc")) if request == 0 else closes()) as receiver,
            open_client(SsrfGuard(OPEN, [])) as client,
        ):
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            await post(client, target)
            receiver.script = lambda connection, _: closes() if connection == 0 else hangs
            assert (await post(client, target, timeout=1)).reason is Reason.TIMEOUT
        assert receiver.requests == [2, 1]


class TestChecks:
    async def test_are_made_again_when_the_time_is_over(self, names: Names) -> None:
        names.script, clock = [[PUBLIC], [PUBLIC], ["127.0.0.1"]], Hours()
        async with (
            receiving(always(whole(b"abc"))) as receiver,
            open_client(SsrfGuard(OPEN, []), Asking(names), clock) as client,
        ):
            target = target_of(f"http://{NAME}:{receiver.port}/")
            for passed, asked, reason in (
                (0.0, 1, None),
                (KEPT_S / 2, 1, None),  # in use all the time
                (KEPT_S / 2 - 0.1, 1, None),
                (0.1, 2, None),
                (KEPT_S, 3, Reason.REFUSED),
            ):
                clock.time += passed
                assert ((await post(client, target)).reason, names.asked) == (reason, asked)
        assert receiver.requests == [3, 1]

    async def test_hold_for_the_policy_of_the_moment(self) -> None:
        guard = SsrfGuard(OPEN, [])
        async with receiving(always(whole(b"abc"))) as receiver, open_client(guard) as client:
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            assert (await post(client, target)).success
            guard.allow = AllowList()
            outcome = await post(client, target)
            assert (outcome.reason, outcome.remote_ip) == (Reason.REFUSED, None)
            async with asyncio.timeout(5):
                await receiver.ended[0].wait()
        assert receiver.requests == [1]

    async def test_end_with_a_receiver_of_our_own(self) -> None:
        guard = SsrfGuard(AllowList(), [])
        async with receiving(always(whole(b"abc")), host="127.0.0.1") as receiver, open_client(guard) as client:
            with guard.admitting(OwnReceiver(ip_address("127.0.0.1"), receiver.port, "/in/")):
                target = guard.check_url(f"http://127.0.0.1:{receiver.port}/in/x")
                assert isinstance(target, CallbackTarget)
                assert [(await post(client, target)).success for _ in range(2)] == [True, True]
            assert (await post(client, target)).reason is Reason.REFUSED
        assert receiver.requests == [2]

    async def test_are_of_one_origin(self, names: Names) -> None:
        names.script = [[PUBLIC]]
        async with (
            receiving(always(whole(b"abc"))) as receiver,
            open_client(SsrfGuard(OPEN, []), Asking(names)) as client,
        ):
            for host in (NAME, f"other.{NAME}", PUBLIC, NAME, f"other.{NAME}", PUBLIC):
                assert (await post(client, target_of(f"http://{host}:{receiver.port}/"))).success
        assert receiver.requests == [2, 2, 2]

    async def test_of_a_certificate_are_made_once_per_connection(
        self, tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context, certificate = certified(tmp_path, NAME)
        monkeypatch.setattr(http_client, "TLS_CONTEXT", ssl.create_default_context(cafile=certificate))
        names.script = [[PUBLIC]]
        async with (
            receiving(always(whole(b"abc")), tls=context) as receiver,
            open_client(SsrfGuard(OPEN, []), Asking(names)) as client,
        ):
            for _ in range(3):
                assert (await post(client, target_of(f"https://{NAME}:{receiver.port}/"))).success
            other = await post(client, target_of(f"https://other.{NAME}:{receiver.port}/"))
            assert other.reason is Reason.TLS
        assert receiver.requests == [3]


class TestBounds:
    async def test_a_receiver_may_ask_for_less_time(self) -> None:
        clock = Hours()
        async with (
            receiving(always(whole(b"abc", OK + b"Keep-Alive: timeout=2\r\n"))) as receiver,
            open_client(SsrfGuard(OPEN, []), now=clock) as client,
        ):
            for passed in (0.0, 1.9, 1.9, 2.0):
                clock.time += passed
                assert (await post(client, target_of(f"http://{PUBLIC}:{receiver.port}/"))).success
        assert receiver.requests == [3, 1]

    async def test_an_idle_connection_is_closed_when_its_time_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_client, "KEPT_S", 0.05)
        async with receiving(always(whole(b"abc"))) as receiver, open_client(SsrfGuard(OPEN, [])) as client:
            await post(client, target_of(f"http://{PUBLIC}:{receiver.port}/"))
            async with asyncio.timeout(5):
                await receiver.ended[0].wait()
            assert len(client.pool) == 0

    async def test_a_few_are_kept_of_each_origin(self) -> None:
        clock, most = Hours(), connection_pool.MOST_OF_ORIGIN
        async with receiving(always(whole(b"abc"))) as receiver, open_client(SsrfGuard(OPEN, []), now=clock) as client:
            target = target_of(f"http://{PUBLIC}:{receiver.port}/")
            await asyncio.gather(*(post(client, target) for _ in range(most + 3)))
            assert len(receiver.requests) == most + 3
            clock.time += connection_pool.MOMENT_S
            client.pool.close_expired()
            assert len(client.pool) == most

    async def test_a_few_are_kept_in_all_and_the_oldest_one_goes_first(
        self, monkeypatch: pytest.MonkeyPatch, names: Names
    ) -> None:
        monkeypatch.setattr(connection_pool, "MOST", 3)
        names.script = [[PUBLIC]]
        async with (
            receiving(always(whole(b"abc"))) as receiver,
            open_client(SsrfGuard(OPEN, []), Asking(names)) as client,
        ):
            targets = [target_of(f"http://{letter}.example:{receiver.port}/") for letter in "abcd"]
            for target in targets:
                await post(client, target)
            async with asyncio.timeout(5):
                await receiver.ended[0].wait()
            assert len(client.pool) == 3
            for target in targets[1:]:
                await post(client, target)
        assert receiver.requests == [1, 2, 2, 2]

    async def test_no_file_is_left_open(self) -> None:
        process = psutil.Process()
        async with receiving(always(whole(b"abc"))) as receiver:
            before = process.num_fds()
            async with open_client(SsrfGuard(OPEN, [])) as client:
                target = target_of(f"http://{PUBLIC}:{receiver.port}/")
                await asyncio.gather(*(post(client, target) for _ in range(4)))
                assert process.num_fds() > before
            async with asyncio.timeout(5):
                await asyncio.gather(*(ended.wait() for ended in receiver.ended))
            await asyncio.sleep(0)
            assert process.num_fds() == before

    async def test_idle_connections_make_room_when_files_are_short(self) -> None:
        clients: list[http_client.Client] = []

        class Short(SsrfGuard):
            def socket(self, address: tuple[Any, ...]) -> socket.socket:
                if clients and len(clients[0].pool):
                    raise OSError(errno.EMFILE, "Too many open files")
                return super().socket(address)

        async with (
            receiving(always(whole(b"abc"))) as one,
            receiving(always(whole(b"abc"))) as other,
            open_client(Short(OPEN, [])) as client,
        ):
            clients.append(client)
            for receiver in (one, other):
                assert (await post(client, target_of(f"http://{PUBLIC}:{receiver.port}/"))).success
            assert len(client.pool) == 1


async def test_a_service_keeps_connections_and_a_lost_one_is_no_attempt(settings: Settings, pool: Pool) -> None:
    """Three callbacks: over one connection, which is then closed when the third one has been sent."""

    def script(connection: int, request: int) -> Answer:
        return closes() if (connection, request) == (0, 2) else says(whole(b"abc"))

    async with receiving(script) as receiver, serving(replace(settings, callback_allow=OPEN)) as service:
        for _ in range(3):
            request = await submit(service.engine, new(callback_url=f"http://{PUBLIC}:{receiver.port}/"))
            done = await finished(pool, request)
            assert (done.callback_status, done.callback_attempts) == (CallbackStatus.SUCCESS, 1)
        assert [(log.success, log.remote_ip) for log in await callbacks.logs(pool, request.id)] == [(True, PUBLIC)]
    assert receiver.requests == [3, 1]
