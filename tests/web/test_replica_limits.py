"""Rate limits over replicas: each hears what the others allowed; `pytest -s` prints how far they are exceeded."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from pathlib import Path

import pytest

from reportsim.engine import replication
from reportsim.settings import Settings
from reportsim.store import consumption
from reportsim.store.pool import Pool
from reportsim.web.limits.rate_limit import RATE_LIMITS
from tests.conftest import Service, serving
from tests.engine.jobs import until

# A bucket regains one request in 12 seconds.
QUOTA = 5
TINY = {"ledger": "tiny"}


@contextlib.asynccontextmanager
async def replicas(settings: Settings, count: int) -> AsyncIterator[list[Service]]:
    async with contextlib.AsyncExitStack() as stack:
        folders = [Path(settings.data_dir) / str(number) for number in range(count)]
        each = [replace(settings, data_dir=folder) for folder in folders]
        yield [await stack.enter_async_context(serving(one)) for one in each]


async def ask(service: Service) -> int:
    async with service.client.post("/api/async", json=TINY) as answer:
        return answer.status


async def burst(service: Service, count: int) -> int:
    """How many of some concurrent requests are accepted."""
    return [*await asyncio.gather(*(ask(service) for _ in range(count)))].count(202)


def retry_after(service: Service) -> int:
    """How long this client would have to wait."""
    return service.app[RATE_LIMITS].give_back("async", "127.0.0.1", 0).retry_after


@pytest.fixture(params=["notifications", "table"])
def limited(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Services with a quota, which reach the database directly, or as if through a pooler."""
    limited = replace(settings, async_rate=QUOTA)
    return pooled(limited) if request.param == "table" else limited


def pooled(settings: Settings) -> Settings:
    """Settings of a service that reaches the database as if through a pooler."""
    dsn = settings.database_url or ""
    return replace(settings, database_url=f"{dsn}{'&' if '?' in dsn else '?'}pgbouncer=true")


async def test_what_one_replica_allows_is_used_up_at_the_others(limited: Settings) -> None:
    async with replicas(limited, 2) as (one, other):
        assert await burst(one, 40) == QUOTA

        async def has_heard() -> bool:
            return retry_after(other) > 1

        await until(has_heard)
        assert await burst(other, 10) == 0


@pytest.mark.parametrize("is_first_pooled", [True, False])
async def test_replicas_that_are_connected_in_different_ways_hear_each_other(
    settings: Settings, is_first_pooled: bool
) -> None:
    direct = replace(settings, async_rate=QUOTA)
    through = replace(pooled(direct), data_dir=settings.data_dir / "pooled")
    async with serving(direct) as one, serving(through) as other:
        first, second = (other, one) if is_first_pooled else (one, other)
        assert await burst(first, 40) == QUOTA

        async def has_heard() -> bool:
            return retry_after(second) > 1

        await until(has_heard)
        assert await burst(second, 10) == 0


async def test_what_a_replica_used_before_it_heard_itself_is_known_too(
    limited: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes its line for deaf at first, and hears and tells all the same."""
    monkeypatch.setattr(replication, "ECHO_S", 0.0)
    async with replicas(limited, 3) as services:
        served = sum(await asyncio.gather(*(burst(service, 20) for service in services)))

        async def know_it() -> bool:
            return all(retry_after(service) > (served - QUOTA) * 60 / QUOTA - 12 for service in services)

        await until(know_it)


async def test_a_replica_knows_what_was_used_just_before_it_came(
    limited: Settings, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    # Just before is longer here than any start takes.
    monkeypatch.setattr(consumption, "OVERLAP", timedelta(minutes=1))
    async with serving(limited) as first:
        assert await burst(first, 40) == QUOTA

        async def is_told() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM consumption_notices"))

        await until(is_told)
        async with serving(replace(limited, data_dir=limited.data_dir / "second")) as second:

            async def has_heard() -> bool:
                return retry_after(second) > 1

            await until(has_heard)


async def test_a_burst_at_all_replicas_at_once_is_owed(limited: Settings) -> None:
    async with replicas(limited, 3) as services:
        served = sum(await asyncio.gather(*(burst(service, 20) for service in services)))
        assert QUOTA <= served <= 3 * QUOTA

        async def know_it() -> bool:
            return all(retry_after(service) > (served - QUOTA) * 60 / QUOTA for service in services)

        await until(know_it)
        assert sum(await asyncio.gather(*(burst(service, 5) for service in services))) == 0


async def test_a_client_of_one_replica_gets_its_quota(limited: Settings) -> None:
    async with replicas(limited, 2) as (one, _):
        assert await burst(one, 200) == QUOTA


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
async def test_how_far_a_steady_client_of_all_replicas_exceeds_its_quota(settings: Settings, count: int) -> None:
    quota, per_second, seconds = 60, 100, 3.0
    async with replicas(replace(settings, async_rate=quota), count) as services:
        began, served = time.monotonic(), 0
        for number, service in zip(range(int(per_second * seconds)), cycle(services), strict=False):
            await asyncio.sleep(max(began + number / per_second - time.monotonic(), 0))
            served += await ask(service) == 202
        allowed = quota + (time.monotonic() - began) * quota / 60
    print(f"\n{count} replicas, {per_second} requests a second: {served} served, {allowed:.1f} allowed")
    assert served <= allowed + (count - 1) * quota
