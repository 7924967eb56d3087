"""No background task of the service dies silently: readiness says so, streams end, and the service stops."""

import asyncio
from typing import Any

import aiohttp
import pytest

from reportsim.benchmark.runner import Runner
from reportsim.engine.events.hub import EventHub
from reportsim.engine.leases import Leases
from reportsim.engine.replication import Replication
from reportsim.engine.sweeper import Sweeper
from reportsim.engine.worker.claim_writer import ClaimWriter
from reportsim.engine.worker.worker import Worker
from reportsim.settings import Settings
from reportsim.store.batcher import Batcher
from reportsim.tasks import BackgroundTaskError
from reportsim.web.keys import FAILED
from tests.api.calls import TINY
from tests.conftest import serving

SERVICES = [
    (EventHub, "run"),
    (Worker, "_claim_forever"),
    (ClaimWriter, "run"),
    (Leases, "run"),
    (Sweeper, "run"),
    (Replication, "run"),
    (Runner, "_bury_forever"),
    (Batcher, "_write"),
]


@pytest.mark.parametrize(("part", "method"), SERVICES, ids=lambda item: getattr(item, "__name__", item))
async def test_what_ends_unexpectedly_ends_the_service(
    part: type, method: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = asyncio.Event()

    async def fragile(self: Any, *arguments: Any) -> None:
        await breaks.wait()
        raise ZeroDivisionError

    monkeypatch.setattr(part, method, fragile)
    with pytest.raises(BackgroundTaskError):  # noqa: PT012
        async with serving(settings) as service, service.client.get("/api/events") as stream:
            asking = asyncio.get_running_loop().create_task(ask(service.client))
            breaks.set()
            async with asyncio.timeout(20):
                await service.app[FAILED].wait()
                await stream.read()
                async with service.client.get("/readyz") as answer:
                    assert answer.status == 503
                    assert {"workers", "accepting"} <= set((await answer.json())["failing"])
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def ask(client: aiohttp.ClientSession) -> None:
    async with client.post("/api/async", json=TINY):
        pass
