"""schemathesis: every operation of /openapi.json against a live service, with all checks."""

import asyncio
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from reportsim.benchmark.plan import Plan
from reportsim.benchmark.runner import Runner
from reportsim.core import service_time
from reportsim.engine.delivery.ssrf_guard import HostResolver, RefusedAddress, SsrfGuard
from reportsim.settings import Settings
from reportsim.store.benchmarks import AlreadyRunning
from reportsim.web.limits import concurrency_limit
from tests.api.calls import TINY, logs_of, read, submit
from tests.conftest import Service, serving

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FIXED_SEED = 20_261_124
LEAST_CASES = 1_000
LONGEST_S = 540
MOST_RUNS = 3
SHORT_RUN: dict[str, Any] = {
    "rate": 8,
    "duration_s": 1,
    "blocks": None,
    "workers": 2,
    "service_time": {"distribution": "fixed", "mean_ms": 1},
}


@pytest.fixture
def contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service times are short, no name is looked up, and callbacks go nowhere but to the service's own receiver.

    The first few benchmarks run, each for a second; whoever asks for more is told that one is running.
    """

    async def unknown(*_: Any) -> None:
        raise OSError("no names here")

    check = SsrfGuard.check

    def refuse(guard: SsrfGuard, address: str, port: int) -> None:
        check(guard, address, port)
        if not any(receiver.port == port and str(receiver.address) == address for receiver in guard.own):
            raise RefusedAddress("not in tests")

    start = Runner.start
    begun: list[UUID] = []

    async def start_short(runner: Runner, plan: Plan) -> UUID:
        if len(begun) >= MOST_RUNS:
            raise AlreadyRunning
        begun.append(await start(runner, replace(plan, **SHORT_RUN)))
        return begun[-1]

    monkeypatch.setattr(Runner, "start", start_short)
    monkeypatch.setattr(service_time, "LONGEST_MS", 20.0)
    # On a busy machine exports take longer, and most of those that are asked for at once would be refused.
    monkeypatch.setattr(concurrency_limit, "MAX_EXPORTS", 64)
    monkeypatch.setattr(concurrency_limit, "MAX_EXPORTS_PER_CLIENT", 64)
    monkeypatch.setattr(HostResolver, "resolve", unknown)
    monkeypatch.setattr(SsrfGuard, "check", refuse)


async def test_no_callback_leaves_the_service(settings: Settings, contained: None) -> None:
    """What the fuzzer submits may name any address; none is called."""
    async with serving(replace(settings, callback_waits=(), callback_attempts=1)) as service:
        for url, called in [
            (f"{service.url}/webhook-test/mine", True),
            ("http://192.0.43.8/", False),
            ("https://example.com/", False),
        ]:
            ended = await service.ended(await submit(service, "/api/async", {**TINY, "callback_url": url}))
            (log,) = await logs_of(service, str(ended["id"]))
            assert log["success"] is called
            assert (log["remote_ip"] is not None) is called


@pytest.mark.parametrize("seed", [pytest.param(FIXED_SEED, id="fixed seed"), pytest.param(None, id="fresh seed")])
async def test_nothing_breaks_the_contract(
    settings: Settings, contained: None, tmp_path: Path, seed: int | None
) -> None:
    async with serving(replace(settings, workers=16, lease_s=30.0)) as service:
        log = await log_of_two_attempts(service)
        code, output = await fuzz(service, tmp_path, log, *(("--seed", str(seed)) if seed else ()))
        async with service.client.get("/readyz") as answer:
            assert answer.status == 200
        async with service.client.get("/api/benchmark") as answer:
            assert len((await answer.json())["items"]) == MOST_RUNS
    print(output)
    assert code == 0, output
    generated = re.search(r"(\d[\d,]*) generated", output)
    assert generated, output
    assert int(generated[1].replace(",", "")) >= LEAST_CASES


async def log_of_two_attempts(service: Service) -> dict[str, str]:
    """A log with a second page: what schemathesis_checks needs to read it."""
    id = await submit(service, "/api/callbacks/simulate-failures", {**TINY, "failures": 1})
    await service.ended(id)
    page = await read(service, f"/api/requests/{id}/callback-logs?limit=1")
    (cursor,) = parse_qs(urlsplit(page["next"]).query)["cursor"]
    return {"SCHEMATHESIS_LOG_ID": id, "SCHEMATHESIS_LOG_CURSOR": cursor}


async def fuzz(service: Service, folder: Path, log: dict[str, str], *options: str) -> tuple[int | None, str]:
    """Runs the command line against a service, and returns its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "st"),
        *("--config-file", str(HERE / "schemathesis.toml"), "run", f"{service.url}/openapi.json"),
        *("--checks", "all", *options),
        cwd=folder,
        env={**os.environ, **log, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode()
