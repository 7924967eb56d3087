"""Finds the request named in a path, and waits for its end."""

import asyncio
from typing import Any
from uuid import UUID

from aiohttp import web

from reportsim.core.model import CallbackStatus, Request
from reportsim.core.problems import Problem
from reportsim.engine.engine import Engine
from reportsim.reports.fields import UUID_FORM
from reportsim.store import callbacks as callback_store
from reportsim.store import requests as store
from reportsim.tasks import start
from reportsim.web.keys import DRAINING, ENGINE


def path_id(request: web.Request, kind: str = "request") -> UUID:
    """The id in the path; 404 for anything that is not an id."""
    text = request.match_info["id"]
    if not UUID_FORM.fullmatch(text):
        raise not_found(kind)
    return UUID(text)


def not_found(kind: str = "request") -> Problem:
    """The 404 of a request, or of another kind of resource."""
    return Problem("not-found", f"There is no such {kind}.")


async def get_request_or_404(engine: Engine, id: UUID) -> Request:
    """Reads a request; 404 if it does not exist."""
    row = await store.get_one(engine.pool, id)
    if row is None:
        raise not_found()
    return row


async def wait_for_end(request: web.Request, id: UUID, seconds: float) -> Request | None:
    """Waits for a request to end, until a timeout or the shutdown; None if it has not ended by then."""
    engine = request.app[ENGINE]
    with engine.hub.end_of(id) as ended:
        row = await store.get_one(engine.pool, id)
        if row is not None and not row.ended:
            stopping = start(request.app[DRAINING].wait(), name="draining")
            try:
                waits: set[asyncio.Future[Any]] = {ended, stopping}
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
            row = await store.get_one(engine.pool, id)
    return row if row is not None and row.ended else None


def explain_redelivery_conflict(row: Request) -> str:
    """Why no new series of callbacks was started."""
    if row.callback_url is None:
        return "It has no callback URL."
    if row.callback_status is CallbackStatus.PENDING:
        return "Its current series of callbacks has not ended."
    return f"It has had {callback_store.MAX_SERIES} series of callbacks, which is the maximum."
