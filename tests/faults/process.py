"""A real server process that can be killed at any moment and started again."""

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.engine.jobs import until
from tests.ports import free_port

# An end for a test that fails: under load, the first start of a database has taken half a minute.
READY_S = 120.0
END_S = 15.0
LOG_TAIL = 20_000


class ServerProcess:
    """`reportsim serve` on a port and a database of its own; its log is printed when the block fails."""

    def __init__(self, dsn: str, folder: Path, processes: int = 1, /, **environ: str) -> None:
        """Makes a server that is not started yet; `environ` adds settings to those that every test wants."""
        self.processes = processes
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.starts = 0
        self._folder = folder
        self._log = folder / f"server-{port}.log"
        self._process: asyncio.subprocess.Process | None = None
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REPORTSIM_")}
        self._environ = {
            **inherited,
            "DATABASE_URL": dsn,
            "REPORTSIM_PORT": str(port),
            "REPORTSIM_DATA_DIR": str(folder / "data"),
            "REPORTSIM_LEASE_S": "1",
            "REPORTSIM_SYNC_RATE": "0",
            "REPORTSIM_ASYNC_RATE": "0",
            "REPORTSIM_CALLBACK_ALLOW": "127.0.0.0/8",
            "REPORTSIM_CALLBACK_WAITS": "0.5",
            "REPORTSIM_DEMO_LINES": "100",
            **environ,
        }

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.kill()
        if error is not None:
            print(f"--- log of {self.url} ---\n{self.log[-LOG_TAIL:]}")

    @property
    def log(self) -> str:
        """Everything that the process has written, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts the process and waits until it is ready."""
        assert self._process is None
        self.starts += 1
        starts = self.log.count("reportsim is ready") + 1
        with self._log.open("ab") as log:
            command = [sys.executable, "-W", "error", "-m", "reportsim", "serve"]
            command += ["--processes", str(self.processes)] if self.processes > 1 else []
            self._process = await asyncio.create_subprocess_exec(
                *command, env=self._environ, cwd=self._folder, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
            )
        async with aiohttp.ClientSession() as client:
            await until(functools.partial(self._is_ready, client, self._process), timeout=READY_S)
        if self.processes > 1:
            await until(functools.partial(self._has_said_ready, starts), timeout=READY_S)

    async def _is_ready(self, client: aiohttp.ClientSession, process: asyncio.subprocess.Process) -> bool:
        if process.returncode is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{self.log[-LOG_TAIL:]}")
        try:
            async with client.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def _has_said_ready(self, times: int) -> bool:
        return self.log.count("reportsim is ready") >= times

    async def kill(self) -> None:
        """Ends the process the hard way, wherever it is; does nothing when it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    async def terminate(self) -> int:
        """Asks the process to end, as a supervisor would, and returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        return await self.wait()

    async def wait(self) -> int:
        """The exit code of the process, which is about to end."""
        assert self._process is not None
        async with asyncio.timeout(END_S):
            code = await self._process.wait()
        self._process = None
        return code

    async def restart(self) -> None:
        """Kills the process and starts it again."""
        await self.kill()
        await self.start()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator["Api"]:
        """Calls to the server, whichever of its lives answers them."""
        async with aiohttp.ClientSession(self.url) as session:
            yield Api(session)


class Refused(Exception):
    """The server answered, and did not accept."""


class Api:
    """The calls that fault tests make."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def submit(self, body: dict[str, Any], *, key: str | None = None) -> str:
        """The id of a request that the server has accepted: the promise is given with the 202."""
        headers = {"X-Idempotency-Key": key} if key else {}
        async with self.session.post("/api/async", json=body, headers=headers) as answer:
            if answer.status != 202:
                raise Refused(answer.status, await answer.text())
            return str((await answer.json())["id"])

    async def request(self, id: str) -> dict[str, Any]:
        async with self.session.get(f"/api/requests/{id}") as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
        return found

    async def attempts(self, id: str) -> list[int]:
        """The numbers of the attempts that were logged."""
        async with self.session.get(f"/api/requests/{id}/callback-logs") as answer:
            assert answer.status == 200, await answer.text()
            return [item["attempt_number"] for item in (await answer.json())["items"]]

    async def in_status(self, id: str, status: str, *, timeout: float = 15) -> dict[str, Any]:
        """Waits until a request has a status."""

        async def look() -> dict[str, Any] | None:
            found = await self.request(id)
            return found if found["status"] == status else None

        return await until(look, timeout=timeout)

    async def attempted(self, id: str, count: int, *, timeout: float = 15) -> None:
        """Waits until so many attempts of a request are logged."""

        async def look() -> bool:
            return len(await self.attempts(id)) >= count

        await until(look, timeout=timeout)

    async def over(self, id: str, *, timeout: float = 30) -> dict[str, Any]:
        """Waits until a request and its callback have ended."""

        async def look() -> dict[str, Any] | None:
            found = await self.request(id)
            ended = found["status"] in {"COMPLETED", "FAILED"} and found["callback_status"] != "PENDING"
            return found if ended else None

        return await until(look, timeout=timeout)

    async def items(self) -> list[dict[str, Any]]:
        """The newest requests."""
        async with self.session.get("/api/requests") as answer:
            assert answer.status == 200, await answer.text()
            found: list[dict[str, Any]] = (await answer.json())["items"]
        return found
