"""Two recorders of one load: the generator's own, and a few lines that share nothing with it but the events."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from yarl import URL

from reportsim.benchmark.load.http_client import ignore
from reportsim.benchmark.load.messages import Order
from reportsim.benchmark.load.own_service import OwnService
from reportsim.benchmark.load.process import listen_for_callbacks
from reportsim.benchmark.load.side_load import SideLoad
from reportsim.benchmark.plan import Plan
from reportsim.benchmark.schedule import make_schedule
from reportsim.benchmark.statistics.intervals import BlockTimes
from reportsim.benchmark.workload import Block
from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.model import Mode
from reportsim.settings import Settings
from tests.conftest import Service, serving

PLAN: Final = Plan(
    rate=400,
    duration_s=2.0,
    workers=4,
    service_time={"distribution": "exponential", "mean_ms": 5},
    client_timeout_s=5,
    slo_s=1,
)


FIRST: Final = Block(PLAN.sides[0], 0)


def ordered(times: list[float], share: float) -> float:
    """The percentile as everybody knows it."""
    return sorted(times)[math.ceil(share * len(times)) - 1]


def order_for(service: Service, plan: Plan) -> Order:
    url = URL(service.url)
    return Order(
        run="01a20c3d-8abb-79ad-be1e-3eae1fd1c9f4",
        host=url.host or "",
        port=url.port or 0,
        host_header=url.authority,
        token="none",
        secrets=list(service.engine.secret_texts),
        plan=plan.as_json(),
    )


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, callback_allow=AllowList.parse("127.0.0.0/8"))


@pytest.mark.slow
async def test_a_second_recorder_finds_the_same_percentiles(settings: Settings) -> None:
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(serving(settings))
        generator = OwnService(order_for(service, PLAN), PLAN)
        await stack.enter_async_context(listen_for_callbacks(generator, "127.0.0.1"))
        sent: list[float] = []
        # Before and after the generator looked at its clock: the process may be stopped for a moment between any two.
        done: dict[int, tuple[float, float]] = {}
        send, hear = generator._client.send, generator.hear

        def watched_send(
            data: bytes, answered: Callable[[int | None, bytes], None], on_sent: Callable[[], None] = ignore
        ) -> Callable[[], None]:
            number = len(sent)
            sent.append(time.perf_counter())

            def watched(status: int | None, body: bytes) -> None:
                before = time.perf_counter()
                answered(status, body)
                if status == 200:
                    done[number] = before, time.perf_counter()

            return send(data, watched, on_sent)

        def watched_hear(path: str, headers: dict[str, str], body: bytes) -> int:
            before = time.perf_counter()
            answer = hear(path, headers, body)
            done.setdefault(int(path.rpartition("-")[2]), (before, time.perf_counter()))
            return answer

        async def expects_results(loads: Sequence[SideLoad]) -> bool:
            return True  # these rows belong to no run that could be asked about

        generator.expects_results = expects_results  # type: ignore[method-assign]
        generator._client.send = watched_send  # type: ignore[method-assign, assignment]
        generator.hear = watched_hear  # type: ignore[method-assign]
        schedule = make_schedule(PLAN)
        for block in (Block(side, 0) for side in PLAN.sides):
            sent.clear()
            done.clear()
            async with asyncio.timeout(60):
                start = await generator.run([block])
            indices = schedule.blocks[block.number]
            # The second recorder's only clock is its own: the load began when its first request was due.
            offset = time.perf_counter() - time.monotonic()
            assert sorted(done) == list(range(len(indices)))
            starts = [offset + start + schedule.due[i] for i in indices]
            earliest = [1000 * (done[number][0] - starts[number]) for number in sorted(done)]
            latest = [1000 * (done[number][1] - starts[number]) for number in sorted(done)]
            samples = generator.samples[block.side.name]
            ours = [1000 * (samples.result[i] - schedule.due[i]) for i in indices]
            for early, own, late in zip(earliest, ours, latest, strict=True):
                assert early - 0.1 < own < late + 0.1
            for share in (0.5, 0.99):
                value = BlockTimes([ours]).quantile(share).value
                assert value is not None
                assert ordered(earliest, share) - 0.1 < value < ordered(latest, share) + 0.1


async def test_clients_leave_when_their_time_is_over_and_not_before(settings: Settings) -> None:
    """An open load: a server that hangs changes nothing about when requests are sent, and when clients give up."""
    hanging = {"distribution": "fixed", "mean_ms": 60_000}
    plan = replace(PLAN, rate=20, workers=32, service_time=hanging, client_timeout_s=0.2)
    async with serving(replace(settings, workers=1, client_planned_s=10_000.0, shutdown_grace_s=0.1)) as service:
        generator = OwnService(order_for(service, plan), plan)
        start = await generator.run([FIRST])
        took = time.monotonic() - start
    samples, count = generator.samples[Mode.SYNC], generator.schedule.bounds[1]
    assert samples.outcomes[:count].tolist() == [2] * count
    assert took >= samples.due[count - 1] + 0.2
    assert all(moment >= due for moment, due in zip(samples.sent[:count], samples.due[:count], strict=True)) or (
        min(map(float.__sub__, samples.sent[:count], samples.due[:count])) > -0.001
    )


async def test_a_server_that_is_not_there_refuses_everything() -> None:
    plan = replace(PLAN, rate=20)
    order = Order(
        run="", host="127.0.0.1", port=9, host_header="127.0.0.1:9", token="", secrets=[], plan=plan.as_json()
    )
    generator = OwnService(order, plan)
    async with asyncio.timeout(20):
        await generator.run([FIRST])
    count = generator.schedule.bounds[1]
    assert generator.samples[Mode.SYNC].outcomes[:count].tolist() == [3] * count


@pytest.mark.parametrize("tampered", ["body", "signature", "timestamp"])
async def test_a_callback_counts_only_with_its_signature(settings: Settings, tampered: str) -> None:
    from reportsim.core import signing

    async with serving(settings) as service:
        generator = OwnService(order_for(service, PLAN), PLAN)
        generator.sides["async"].starts[0] = 0.0
        body = b'{"type":"report.completed"}'
        headers: dict[str, Any] = signing.headers(service.engine.dispatcher.secrets, "msg_1", 1_000, body)
        wrong = {
            "body": (headers, b'{"type":"report.failed"}'),
            "signature": ({**headers, "webhook-signature": "v1,AAAA"}, body),
            "timestamp": ({**headers, "webhook-timestamp": "1001"}, body),
        }[tampered]
        assert generator.hear("/callback/async-3", *wrong) == 400
        assert math.isnan(generator.samples[Mode.ASYNC].result[3])
        assert generator.hear("/callback/async-3", headers, body) == 200
        assert generator.samples[Mode.ASYNC].outcomes[3] == 0
        assert generator.hear("/callback/async-3", headers, body) == 200
        assert generator.samples[Mode.ASYNC].duplicates == 1
