from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.engine import sweeper
from reportsim.engine.worker import claim_writer, worker
from reportsim.settings import Settings
from tests.engine.receiver import Receiver, receiving


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks ten times as often for what fell through, so that no test waits long for it."""
    monkeypatch.setattr(worker, "POLL_INTERVAL_S", 0.1)
    monkeypatch.setattr(claim_writer, "RETRY_S", 0.1)
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", 0.1)
    monkeypatch.setattr(sweeper, "LATE", timedelta(seconds=0.1))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings that let callbacks go to receivers on this machine."""
    return replace(settings, callback_allow=AllowList.parse("127.0.0.0/8"))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything at once."""
    async with receiving() as running:
        yield running
