"""What the generator makes of answers and callbacks, in whatever order they come: each request has one outcome."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.benchmark.load import generator as generator_module
from reportsim.benchmark.load import own_service as module
from reportsim.benchmark.load.generator import Generator
from reportsim.benchmark.load.http_client import Client
from reportsim.benchmark.load.messages import Order
from reportsim.benchmark.load.own_service import OwnService
from reportsim.benchmark.load.process import listen_for_callbacks
from reportsim.benchmark.load.side_load import SideLoad
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.results.samples import Outcome
from reportsim.benchmark.results.side_samples import Side
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.workload import Arrivals, Block
from reportsim.core import signing
from reportsim.core.model import Mode

SECRET: Final = signing.new_secret()
SERVICE: Final = {"distribution": "fixed", "mean_ms": 10}
RACE: Final = Plan(rate=4, duration_s=1, arrivals=Arrivals.BURST, together=True, workers=1, service_time=SERVICE)
COUNT: Final = len(make_schedule(RACE))
COMPLETED: Final = b'{"type":"report.completed"}'
FAILED: Final = b'{"type":"report.failed"}'


def generator_for(plan: Plan, port: int = 9) -> OwnService:
    order = Order(
        run="01a20c3d-8abb-79ad-be1e-3eae1fd1c9f4",
        host="127.0.0.1",
        port=port,
        host_header=f"127.0.0.1:{port}",
        token="",
        secrets=[SECRET],
        plan=plan.as_json(),
    )
    return OwnService(order, plan)


def signed(body: bytes, attempt: int = 1) -> dict[str, str]:
    headers = signing.headers([signing.parse_secret(SECRET)], "msg_1", 1_000, body)
    return {**headers, "webhook-attempt": str(attempt)}


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = Callable[[str, str], tuple[int, bytes] | None]


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """A server of connections, all of which are closed at the end; yields its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
                await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """A service that answers as a test wants it, or closes the connection without an answer; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            length = next((line for line in head.split("\r\n") if line.startswith("Content-Length")), ":0")
            await reader.readexactly(int(length.partition(":")[2]))
            found = answer(method, path)
            if found is None:
                return
            status, body = found
            writer.write(f"HTTP/1.1 {status} .\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    async with listening(serve) as port:
        yield port


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """A service that takes every connection and says nothing; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        await asyncio.Event().wait()

    async with listening(serve) as port:
        yield port


@pytest.mark.parametrize("status", [202, None])
async def test_a_side_that_is_done_ends_nobodys_wait_for_callbacks(status: int | None) -> None:
    """In a race both sides have the same indices: a sync result must not pass for a callback of the same number.

    An answer that was lost does not say that nothing was accepted either.
    """
    asked = 0
    service: OwnService | None = None

    def answer(method: str, path: str) -> tuple[int, bytes] | None:
        nonlocal asked
        assert service is not None
        if path == "/healthz":
            return 200, b""
        if method == "POST":
            return (200, b"{}") if path == "/api/sync" else (status, b"{}") if status else None
        asked += 1
        if asked == 2:
            for index in range(COUNT):
                assert service.hear(f"/callback/async-{index}", signed(COMPLETED), COMPLETED) == 200
        return 200, json.dumps({"items": [{}] if asked < 3 else []}).encode()

    async with answering(answer) as port, asyncio.timeout(20):
        service = generator_for(RACE, port)
        await service.run(RACE.steps[0])
    assert asked == 2
    for mode in Mode:
        assert service.samples[mode].outcomes.tolist() == [Outcome.OK] * COUNT


class CallingBack:
    """A service that accepts at once, and calls back one after the other when all were sent; counts how it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.calling: asyncio.Task[None] | None = None

    def send(self, load: SideLoad, index: int, deadline: float) -> None:
        load.send(index)
        load.answer(index, Outcome.CALLBACK_LOST, may_result=True)

    async def expects_results(self, loads: Sequence[SideLoad]) -> bool:
        self.asked += 1
        if self.calling is None:
            self.calling = asyncio.create_task(self.call_back(loads))
        return True

    async def call_back(self, loads: Sequence[SideLoad]) -> None:
        for index in range(COUNT):
            for load in loads:
                load.hear(index, Outcome.OK)
            await asyncio.sleep(0.01)


async def test_a_service_that_calls_back_is_not_asked_after_each_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is asked is work, which the side with callbacks alone would have."""
    monkeypatch.setattr(generator_module, "ASK_EVERY_S", 60.0)
    schedule = make_schedule(RACE)
    target = CallingBack()
    generator = Generator(RACE, schedule.due, schedule.bounds, target, patience_s=20, recorded=True)
    async with asyncio.timeout(20):
        await generator.run([Block(side, 0) for side in RACE.sides if side.mode is Mode.ASYNC])
    assert generator.samples["async"].outcomes.tolist() == [Outcome.OK] * COUNT
    assert target.asked == 1


async def test_who_is_never_answered_has_given_up_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Async clients have no patience of their own, and a service that says nothing must not hold a run for ever."""
    monkeypatch.setattr(module, "PATIENCE_S", -0.8)
    monkeypatch.setattr(module, "CONNECT_S", 0.05)
    async with silent() as port, asyncio.timeout(20):
        service = generator_for(RACE, port)
        await service.run(RACE.steps[0])
    for mode in Mode:
        assert service.samples[mode].outcomes.tolist() == [Outcome.CLIENT_TIMEOUT] * COUNT


async def test_a_burst_is_sent_on_connections_that_are_accepted_already() -> None:
    """A service sees a client when it accepts its connection: what one waits before must be no part of a burst."""
    barrier = asyncio.Barrier(2 * COUNT)
    accepted_before: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = False
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((line for line in head.split("\r\n") if line.startswith("Content-Length")), ":0")
            await reader.readexactly(int(length.partition(":")[2]))
            if "healthz" in head:
                # Nobody is answered before all are there.
                await barrier.wait()
            else:
                accepted_before.append(accepted)
            accepted = True
            writer.write(b"HTTP/1.1 503 .\r\nContent-Length: 0\r\n\r\n")

    async with listening(serve) as port, asyncio.timeout(20):
        await generator_for(RACE, port).run(RACE.steps[0])
    assert accepted_before == [True] * (2 * COUNT)


async def test_a_callback_counts_from_the_start_of_its_own_block() -> None:
    plan = Plan(rate=4, duration_s=2, arrivals=Arrivals.CONSTANT, workers=1, service_time=SERVICE)
    service = generator_for(plan)
    second = service.schedule.bounds[1]
    async with listen_for_callbacks(service, "127.0.0.1"):
        service.sides["async"].starts = {0: 0.0, 1: 1e9}
        service.hear("/callback/async-0", signed(COMPLETED), COMPLETED)
        service.hear(f"/callback/async-{second}", signed(COMPLETED), COMPLETED)
    result = service.samples[Mode.ASYNC].result
    assert result[0] > 0 > result[second]


EVENTS: Final = st.tuples(
    st.sampled_from(list(Mode)),
    st.integers(0, COUNT - 1),
    st.sampled_from([200, 202, 429, 500, 503, None, "completed", "failed", "forged"]),
)


@given(st.lists(EVENTS, max_size=40))
def test_whatever_comes_in_whatever_order_each_request_has_one_outcome(events: list[tuple[Mode, int, Any]]) -> None:
    """Callbacks before their 202, after an answer that was lost, twice, forged, or of a report that failed."""
    service = generator_for(RACE)
    for load in service.sides.values():
        load.begin(0, range(COUNT), 0.0)
    waiting = service.sides["async"]
    answered: set[tuple[Mode, int]] = set()
    accepted: set[int] = set()
    heard: dict[int, str] = {}
    duplicates = 0
    for mode, index, event in events:
        if isinstance(event, str):
            body = FAILED if event == "failed" else COMPLETED
            headers = {**signed(body), "webhook-signature": "v1,AAAA"} if event == "forged" else signed(body)
            assert service.hear(f"/callback/async-{index}", headers, body) == (400 if event == "forged" else 200)
            if event != "forged":
                duplicates += index in heard
                heard.setdefault(index, event)
        elif (mode, index) not in answered and (mode, event) not in {(Mode.ASYNC, 200), (Mode.SYNC, 202)}:
            answered.add((mode, index))
            service._answered(service.sides[mode], index, event, b"")
            if mode is Mode.ASYNC and event in {202, None}:
                accepted.add(index)
    later = service.samples[Mode.ASYNC]
    for samples in service.samples.values():
        assert len(Side(samples, RACE.design).outcomes) == COUNT
    assert later.duplicates == duplicates
    assert sum(len(load.open) for load in service.sides.values()) == 2 * COUNT - len(answered)
    for index in range(COUNT):
        outcome = Outcome(later.outcomes[index])
        if index in heard:
            assert outcome is (Outcome.JOB_FAILED if heard[index] == "failed" else Outcome.OK)
        else:
            assert outcome is not Outcome.OK
    # What is still waited for: all that may be accepted, and has not been heard of.
    unanswered = {index for index in range(COUNT) if (Mode.ASYNC, index) not in answered}
    assert waiting.missing == (accepted | unanswered) - heard.keys()


async def test_who_leaves_late_takes_nobody_along() -> None:
    """An answer that came in the same moment as the end of patience has freed the connection for somebody else."""

    def answer(method: str, path: str) -> tuple[int, bytes]:
        return 200, path.encode()

    async with answering(answer) as port, asyncio.timeout(20):
        client = Client("127.0.0.1", port, "h")
        first: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        leave = client.send(client.message("GET", "/one"), lambda status, _: first.set_result(status))
        assert await first == 200
        second = asyncio.ensure_future(client.ask(client.message("GET", "/two")))
        await asyncio.sleep(0)
        leave()
        assert await second == (200, b"/two")


async def test_a_service_that_answers_before_it_is_asked_is_heard() -> None:
    """As one does that has no room for another connection: it says so and closes."""

    async def full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 .\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with listening(full) as port, asyncio.timeout(20):
        client = Client("127.0.0.1", port, "h")
        for _ in range(20):
            status, _ = await client.ask(client.message("GET", "/"))
            assert status in {503, None}


async def test_no_answer_is_waited_for_without_an_end() -> None:
    async with silent() as port:
        client = Client("127.0.0.1", port, "h")
        assert await client.ask(client.message("GET", "/"), within=0.05) == (None, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"POST\r\nContent-Length: 0\r\n\r\n",
        b"POST /callback/1 HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /callback/1 HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
    ],
)
async def test_what_is_no_callback_is_hung_up_on(data: bytes) -> None:
    service = generator_for(RACE)
    async with listen_for_callbacks(service, "127.0.0.1"), asyncio.timeout(20):
        port = int(service.callback_base.split(":")[2].partition("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
