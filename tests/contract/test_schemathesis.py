"""schemathesis: every operation of /openapi.json against a live service, with all checks."""

import asyncio
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from reportsim.engine import delivery, simulate
from reportsim.settings import Settings
from tests.conftest import Service, serving

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FIXED_SEED = 20_261_124
LEAST_CASES = 1_000
LONGEST_S = 540


@pytest.fixture
def contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service times are short, and callbacks go nowhere but to the service itself."""

    async def unknown(*_: Any) -> None:
        raise OSError("no names here")

    def refuse(guard: delivery.Guard, address: str, port: int) -> None:
        if not any(receiver.port == port and str(receiver.address) == address for receiver in guard.own):
            raise delivery.RefusedAddress("test", "not in tests")

    monkeypatch.setattr(simulate, "LONGEST_MS", 20.0)
    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", unknown)
    monkeypatch.setattr(delivery.Guard, "check", refuse)


@pytest.mark.parametrize("seed", [pytest.param(FIXED_SEED, id="fixed seed"), pytest.param(None, id="fresh seed")])
async def test_nothing_breaks_the_contract(
    settings: Settings, contained: None, tmp_path: Path, seed: int | None
) -> None:
    async with serving(replace(settings, workers=16, lease_s=30.0)) as service:
        code, output = await fuzz(service, tmp_path, *(("--seed", str(seed)) if seed else ()))
        async with service.client.get("/readyz") as answer:
            assert answer.status == 200
    print(output)
    assert code == 0, output
    generated = re.search(r"(\d[\d,]*) generated", output)
    assert generated, output
    assert int(generated[1].replace(",", "")) >= LEAST_CASES


async def fuzz(service: Service, folder: Path, *options: str) -> tuple[int | None, str]:
    """Runs the command line against a service, and returns its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "st"),
        *("--config-file", str(HERE / "schemathesis.toml"), "run", f"{service.url}/openapi.json"),
        *("--checks", "all", *options),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"},
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
