"""The process of the load generator, as the service sees it."""

import asyncio
import contextlib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from typing import Any

from reportsim.benchmark.helper_process import end_process, spawn_helper
from reportsim.benchmark.load.messages import LONGEST_LINE, Message, encode, receive
from reportsim.core.problems import Problem

MODULE = "reportsim.benchmark.load.process"


class GeneratorProcess:
    """The generator at the other end of two pipes: one request, one response."""

    def __init__(self, process: Process) -> None:
        """Communicates over the process's pipes."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._writer, self._reader = process.stdin, process.stdout

    async def ask(self, value: dict[str, Any], *parts: bytes, within: float) -> Message:
        """Sends a message and waits for the response.

        Raises:
            Problem: The process has ended, or does not respond in time.
        """
        try:
            async with asyncio.timeout(within):
                # A process that has ended may have sent the reason.
                with contextlib.suppress(OSError):
                    self._writer.write(encode(value, *parts))
                    await self._writer.drain()
                answer = await receive(self._reader)
        except TimeoutError:
            detail = f"The generator's process has not answered for {within:g} s."
        except (EOFError, OSError):
            detail = "The generator's process ended early."
        else:
            if (reason := answer.value.get("failure")) is None:
                return answer
            detail = f"The generator's process failed: {reason}"
        raise Problem("benchmark-failed", detail)


@contextlib.asynccontextmanager
async def run_generator() -> AsyncIterator[GeneratorProcess]:
    """Runs the generator for as long as the context lasts."""
    try:
        process = await spawn_helper(MODULE, limit=LONGEST_LINE)
    except OSError as error:
        raise Problem("benchmark-failed", f"The generator's process could not be started: {error.strerror}") from None
    try:
        yield GeneratorProcess(process)
    finally:
        await end_process(process)
