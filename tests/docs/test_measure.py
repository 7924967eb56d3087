"""The examples of docs/measure.md run as they stand there, and their verdicts are right."""

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reportsim.benchmark.results.run_comparison import is_below
from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.signing import new_secret
from reportsim.measure.target.reader import read_target
from reportsim.settings import Settings
from tests.conftest import serving
from tests.ports import free_port

PAGE = (Path(__file__).parents[2] / "docs" / "measure.md").read_text(encoding="utf-8")
READY_S = 30.0


def example(name: str) -> str:
    """The text of a file by its name behind the language."""
    [found] = re.findall(rf"^```\w+ {re.escape(name)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@contextlib.asynccontextmanager
async def running(folder: Path, name: str, port: int) -> AsyncIterator[None]:
    """A service of the page, on a port of its own, as long as the context lasts."""
    (folder / name).write_text(example(name).replace("8000", str(port)))
    process = await asyncio.create_subprocess_exec(sys.executable, name, cwd=folder, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(READY_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield
    finally:
        process.kill()
        await process.wait()


async def call(*arguments: str, **environ: str) -> dict[str, Any]:
    """The JSON that a command prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reportsim", *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    out, err = await process.communicate()
    # A busy machine makes a measurement that is not to be trusted, and says so.
    assert process.returncode in {0, 99}, err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


def test_every_target_of_the_page_is_one() -> None:
    names = re.findall(r"^```toml (\S+)\n", PAGE, re.MULTILINE)
    assert len(names) == 3
    for name in names:
        assert read_target(example(name), {"REPORTSIM_WEBHOOK_SECRET": new_secret()}).is_local


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "later_ms"),
    [("aiohttp", (150, 50)), ("fastapi", (200, 50))],
)
async def test_the_verdict_is_right(name: str, later_ms: tuple[float, float], tmp_path: Path) -> None:
    port = free_port()
    target = tmp_path / "target.toml"
    target.write_text(example(f"{name}_target.toml").replace("8000", str(port)))
    async with running(tmp_path, f"{name}_service.py", port):
        result = await call("measure", str(target), "--rate", "20", "--duration", "8")
    later, sync = (result[side]["time_to_result_ms"]["p50"]["value"] for side in ("async", "sync"))
    expected_later, expected_sync = later_ms
    # The overhead of a busy machine on top, which is never below 0.
    assert expected_sync <= sync < expected_sync + 50
    assert expected_later <= later < expected_later + 100
    for side in ("sync", "async"):
        assert result[side]["outcomes"]["ok"] == result[side]["offered"]
    assert "Async results arrived" in result["verdict"]
    assert "No async request was lost." in result["verdict"]
    if name == "fastapi":
        assert result["async"]["earliest_ms"]["p50"]["value"] < expected_sync
        assert "Async results were polled" in result["verdict"]


@pytest.mark.slow
async def test_reportsim_by_url_agrees_with_its_own_benchmark(settings: Settings, tmp_path: Path) -> None:
    secret = new_secret()
    settings = replace(
        settings,
        workers=8,
        sync_rate=0,
        async_rate=0,
        callback_allow=AllowList.parse("127.0.0.0/8"),
        webhook_secret=(secret,),
    )
    target = tmp_path / "target.toml"
    load = ("--rate", "20", "--duration", "12")
    async with serving(settings) as service:
        target.write_text(example("reportsim_target.toml").replace("http://127.0.0.1:8080", service.url))
        theirs = await call("measure", str(target), *load, REPORTSIM_WEBHOOK_SECRET=secret)
        ours = await call("benchmark", "--url", service.url, *load, "--mean", "0.05", "--workers", "8")
    for side in ("sync", "async"):
        assert theirs[side]["outcomes"]["ok"] == theirs[side]["offered"] == ours["result"][side]["offered"]
        assert theirs[side]["segments_ms"]["service"] is not None or side == "async"
        for level in ("p50", "p90", "mean"):
            one, other = theirs[side]["time_to_result_ms"][level], ours["result"][side]["time_to_result_ms"][level]
            assert not is_below(one, other), (side, level)
            assert not is_below(other, one), (side, level)
