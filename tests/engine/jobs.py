"""Requests given straight to an engine, and what becomes of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from reportsim.core.model import CallbackStatus, Request
from reportsim.engine.engine import Engine
from reportsim.store import callbacks, requests
from reportsim.store.pool import Pool
from tests.store.rows import PAYLOAD, new

T = TypeVar("T")


def job(milliseconds: float | None = None, *, fails: bool = False, **fields: Any) -> requests.NewRequest:
    """A request that holds its slot for so long, and fails if it is told to."""
    simulate: dict[str, Any] = {"seed": 1, "failure_rate": int(fails)}
    if milliseconds is not None:
        simulate["service_time"] = {"distribution": "fixed", "mean_ms": milliseconds}
    return new(input_payload={**PAYLOAD, "simulate": simulate}, **fields)


async def submit(engine: Engine, row: requests.NewRequest) -> Request:
    assert await engine.submit(row)
    return row.request


async def until(condition: Callable[[], Awaitable[T | None]], *, timeout: float = 15) -> T:
    """Looks again and again until something holds; the limit ends a test that fails, and is none on speed."""
    async with asyncio.timeout(timeout):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.01)


async def state(pool: Pool, request: Request | UUID) -> Request:
    found = await requests.get_one(pool, request if isinstance(request, UUID) else request.id)
    assert found is not None
    return found


async def finished(pool: Pool, request: Request, *, timeout: float = 15) -> Request:
    """Waits until a request has ended, and its callback too."""

    async def look() -> Request | None:
        found = await state(pool, request)
        return found if found.ended and found.callback_status is not CallbackStatus.PENDING else None

    return await until(look, timeout=timeout)


async def attempts(pool: Pool, request: Request) -> list[tuple[int, int]]:
    """The series and numbers of the attempts that were logged."""
    return [(log.series, log.attempt_number) for log in await callbacks.logs(pool, request.id)]
