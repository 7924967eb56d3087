"""Four processes are one service: whichever answers, and whichever dies."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from reportsim.store.migrate import migrate
from reportsim.store.pool import connect
from tests.engine.jobs import until
from tests.faults.process import ServerProcess

pytestmark = pytest.mark.slow

PROCESSES = 4
TINY = {"ledger": "tiny"}
# What a bucket regains meanwhile does not count: one request in 12 seconds.
QUOTA = 5
EVENT = re.compile(r"id: (\S+)\nevent: (\w+)\n")


@contextlib.asynccontextmanager
async def four_processes(dsn: str, folder: Path, **environ: str) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(dsn, folder, PROCESSES, **environ) as running:
        yield running


@contextlib.asynccontextmanager
async def connected_to_each(url: str) -> AsyncIterator[list[aiohttp.ClientSession]]:
    """A session with one connection to each process: ids of requests begin with the id of the process."""
    async with contextlib.AsyncExitStack() as stack:
        found: dict[str, aiohttp.ClientSession] = {}
        while len(found) < PROCESSES:
            connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=60)
            session = aiohttp.ClientSession(url, connector=connector)
            async with session.get("/api/ledgers") as answer:
                process = answer.headers["X-Request-Id"].partition("-")[0]
            if process in found:
                await session.close()
            else:
                found[process] = await stack.enter_async_context(session)
        yield list(found.values())


async def get(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def post(session: aiohttp.ClientSession, path: str, body: dict[str, Any], status: int = 202) -> Any:
    async with session.post(path, json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def read_events(
    session: aiohttp.ClientSession, after: str | None, wanted: str, timeout: float = 15
) -> tuple[str, str]:
    """What a stream sends until a text is in it, and its last id."""
    headers = {"Last-Event-ID": after} if after else {}
    text = ""
    async with session.get("/api/events", headers=headers) as answer, asyncio.timeout(timeout):
        while wanted not in text:
            text += (await answer.content.readany()).decode()
    return text, re.findall(r"id: (\S+)\n", text)[-1]


def children(server: ServerProcess) -> list[psutil.Process]:
    """The processes of a service, but for one that has just ended or begun."""
    found = []
    for child in psutil.Process(server.pid).children():
        with contextlib.suppress(psutil.Error):
            found += [child] if "--member" in child.cmdline() else []
    return found


async def test_inboxes_streams_runs_and_metrics_are_the_same_whichever_answers(own_dsn: str, tmp_path: Path) -> None:
    async with four_processes(own_dsn, tmp_path) as server:
        async with connected_to_each(server.url) as (a, b, c, d):
            _, before = await read_events(a, None, "id:")
        async with connected_to_each(server.url) as (a, b, c, d):
            ids = []
            for session in (a, b, c, d):
                body = {**TINY, "callback_url": f"{server.url}/webhook-test/mine"}
                ids.append((await post(session, "/api/async", body))["id"])

            async def arrived() -> bool:
                async with aiohttp.ClientSession(server.url) as anybody:
                    return len((await get(anybody, "/webhook-test/mine"))["items"]) == len(ids)

            await until(arrived)
            metrics = await (await b.get("/metrics")).text()
        accepted = re.findall(r'^reportsim_requests_accepted_total{mode="async",process="(.)"} (.+)$', metrics, re.M)
        assert sum(float(count) for _, count in accepted) == len(ids)
        assert len({process for process, _ in accepted}) == len(accepted) == PROCESSES
        assert set(re.findall(r"^reportsim_queue_age_seconds.*", metrics, re.M)) == {"reportsim_queue_age_seconds 0.0"}
        names = re.findall(r"^# HELP (\S+)", metrics, re.M)
        assert len(names) == len(set(names))
        async with connected_to_each(server.url) as sessions:
            for session in sessions:
                text, _ = await read_events(session, before, ids[-1])
                assert "event: reset" not in text
                assert all(id in text for id in ids)
        async with connected_to_each(server.url) as sessions:
            plan = {"rate": 10, "duration_s": 4, "blocks": 4, "service_time": {"distribution": "fixed", "mean_ms": 5}}
            run = (await post(sessions[0], "/api/benchmark/both", plan))["id"]
            for session in sessions[1:]:
                await post(session, "/api/benchmark/both", plan, 409)

            async def ended() -> Any:
                async with aiohttp.ClientSession(server.url) as anybody:
                    found = await get(anybody, f"/api/benchmark/{run}")
                return found if found["status"] not in {"PENDING", "RUNNING"} else None

            found = await until(ended, timeout=60)
        assert found["status"] == "COMPLETED", found
        for side in ("sync", "async"):
            outcomes = Counter(found["result"][side]["outcomes"])
            assert outcomes["ok"] + outcomes["ok_late"] == found["result"][side]["offered"] > 0


async def test_a_burst_over_all_processes_gets_the_quota_and_a_restart_keeps_the_count(
    own_dsn: str, tmp_path: Path
) -> None:
    async with four_processes(own_dsn, tmp_path, REPORTSIM_ASYNC_RATE=str(QUOTA)) as server:
        began = time.monotonic()

        async def burst() -> Counter[tuple[str, int]]:
            async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0)) as session:

                async def ask() -> tuple[str, int]:
                    async with session.post("/api/async", json=TINY) as answer:
                        return answer.headers["X-Request-Id"].partition("-")[0], answer.status

                return Counter(await asyncio.gather(*(ask() for _ in range(200))))

        seen = await burst()
        assert len({process for process, _ in seen}) == PROCESSES
        for child in children(server):
            child.kill()
        await until(lambda: said(server, "starting it again", PROCESSES))

        async def all_are_back() -> bool:
            async with aiohttp.ClientSession(server.url) as session, session.get("/readyz") as answer:
                return answer.status == 200 and len(children(server)) == PROCESSES

        await until(all_are_back, timeout=60)
        seen += await burst()
        elapsed = time.monotonic() - began
        served = sum(count for (_, status), count in seen.items() if status == 202)
        assert {status for _, status in seen} <= {202, 429, 503}
        assert QUOTA <= served <= QUOTA + elapsed * QUOTA / 60
        assert await server.terminate() == 0


async def said(server: ServerProcess, text: str, times: int = 1) -> bool:
    return server.log.count(text) >= times


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_every_signal_ends_all_processes_cleanly(own_dsn: str, tmp_path: Path, number: signal.Signals) -> None:
    async with four_processes(own_dsn, tmp_path) as server, aiohttp.ClientSession(server.url) as session:
        members = children(server)
        assert len(members) == PROCESSES
        held = {**TINY, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 1_500}}}
        waiting = [asyncio.create_task(session.post("/api/sync", json=held)) for _ in range(PROCESSES)]
        await asyncio.sleep(0.5)
        os.kill(server.pid, number)
        statuses = [(await answer).status for answer in waiting]
        assert await server.wait() == 0
        assert statuses == [200] * PROCESSES
        assert not any(member.is_running() for member in members)
        lines = [json.loads(line)["message"] for line in server.log.splitlines()]
        assert [line for line in lines if line.startswith(("reportsim is ready", "stop"))] == [
            f"reportsim is ready: {server.url} ({PROCESSES} processes)",
            "stopping",
            "stopped",
        ]


async def test_a_second_signal_ends_at_once_and_leaves_nothing(own_dsn: str, tmp_path: Path) -> None:
    async with four_processes(own_dsn, tmp_path) as server, aiohttp.ClientSession(server.url) as session:
        members = children(server)
        held = {**TINY, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 8_000}}}
        waiting = asyncio.create_task(session.post("/api/sync", json=held))
        await asyncio.sleep(0.5)
        os.kill(server.pid, signal.SIGTERM)
        await asyncio.sleep(1.5)
        assert await server.terminate() == 1
        psutil.wait_procs(members, timeout=10)
        assert not any(member.is_running() for member in members)
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_a_signal_before_the_first_process_listens_ends_it(own_dsn: str, tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": own_dsn, "REPORTSIM_PORT": "0"}
    command = [sys.executable, "-m", "reportsim", "serve", "--processes", "4"]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environ)

    async def has_begun() -> bool:
        return bool(psutil.Process(process.pid).children())

    await until(has_begun, timeout=60)
    members = psutil.Process(process.pid).children()
    process.terminate()
    async with asyncio.timeout(15):
        assert await process.wait() == 0
    assert not any(member.is_running() for member in members)


async def test_what_a_killed_supervisor_leaves_ends_cleanly(own_dsn: str, tmp_path: Path) -> None:
    async with four_processes(own_dsn, tmp_path) as server:
        members = children(server)
        os.kill(server.pid, signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, members, 20)
        assert alive == []


async def test_the_first_process_is_missed_for_a_moment_only(own_dsn: str, tmp_path: Path) -> None:
    async with four_processes(own_dsn, tmp_path) as server, aiohttp.ClientSession(server.url) as anybody:
        _, last = await read_events(anybody, None, "id:")
        first = next(child for child in children(server) if '"index": 0,' in " ".join(child.cmdline()))
        first.kill()
        text, _ = await read_events(anybody, last, "event: ", timeout=60)
        assert "event: reset" in text
        assert (await get(anybody, "/webhook-test/mine"))["items"] == []
        lines = [json.loads(line)["message"] for line in server.log.splitlines()]
        assert lines.count("process 0 has ended unexpectedly (by SIGKILL): starting it again") == 1


async def test_what_keeps_it_from_starting_is_said_once(own_dsn: str, tmp_path: Path) -> None:
    connection = await connect(own_dsn)
    await migrate(connection)
    await connection.execute("INSERT INTO schema_migrations VALUES (9999, '9999_later.sql', 'x')")
    await connection.close()
    code, said = await end_of(tmp_path, "--processes", "4", DATABASE_URL=own_dsn, REPORTSIM_PORT="0")
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith("reportsim: ")
    code, said = await end_of(tmp_path, "--processes", "4", DATABASE_URL=own_dsn, REPORTSIM_WORKERS="3")
    assert (code, said.count("\n")) == (1, 1)
    assert "set REPORTSIM_WORKERS to 4 or more" in said


async def end_of(folder: Path, *options: str, **environ: str) -> tuple[int, str]:
    """The exit code of a service that must not start, and what it says."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "reportsim", "serve", *options],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


async def test_a_taken_port_is_said_once(own_dsn: str, tmp_path: Path) -> None:
    async with ServerProcess(own_dsn, tmp_path, 2) as server:
        for more in ([], ["--processes", "4"]):
            port = server.url.rpartition(":")[2]
            code, said = await end_of(tmp_path, *more, REPORTSIM_PORT=port, DATABASE_URL=own_dsn)
            assert (code, said.count("\n")) == (1, 1)
            assert f"cannot listen on 127.0.0.1 port {port}" in said


async def test_the_embedded_postgresql_is_shared_and_ends_with_all_at_the_end_of_input() -> None:
    with tempfile.TemporaryDirectory(prefix="reportsim-test-") as folder:
        environ = {"PATH": os.environ["PATH"], "REPORTSIM_PORT": "0", "REPORTSIM_DEMO_LINES": "100"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reportsim", "serve", "--processes", "2", "--until-eof"),
            cwd=folder,
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        assert process.stdin is not None
        async with asyncio.timeout(60):
            while b"reportsim is ready" not in (line := await process.stderr.readline()):
                assert line
            assert len([name for name, words in commands() if folder in words and name == "postgres"]) == 1
            process.stdin.close()
            assert await process.wait() == 0
        assert [words for _, words in commands() if folder in words] == []


def commands() -> list[tuple[str, str]]:
    """The name and the command line of every process."""
    return [(each.info["name"], str(each.info["cmdline"])) for each in psutil.process_iter(["name", "cmdline"])]
