"""GET /api/events: the hub's messages as Server-Sent Events."""

import asyncio
import random
import re
from typing import Final
from uuid import UUID

from aiohttp import hdrs, web

from reportsim.reports.fields import Identifier, Text
from reportsim.web.keys import ENGINE, STREAM_PLACES
from reportsim.web.quotas import client
from reportsim.web.requests import load_query
from reportsim.web.schemas import Strict

ID: Final = re.compile(r"[0-9a-f]{1,32}-[0-9]{1,18}", re.ASCII)
PING_S: Final = 15.0
RETRY_MS: Final = 2000
MOST_STREAMS: Final = 2_000
# No stream lives for ever, and those that were opened together end apart.
LONGEST_S: Final = (600.0, 900.0)
AGAIN_MS: Final = 50


class EventsQuery(Strict):
    """What a stream is about, and where it resumes."""

    request_id = Identifier(metadata={"description": "Only what is about this request."})
    run = Identifier(metadata={"description": "Only what is about this benchmark run."})
    last_event_id = Text(metadata={"description": "Where to resume."})


async def stream_events(request: web.Request) -> web.StreamResponse:
    """An open stream: what was missed since `Last-Event-ID`, then what happens."""
    query = load_query(EventsQuery(), request)
    last_id = request.headers.get("Last-Event-ID") or query.get("last_event_id")
    request_id: UUID | None = query.get("request_id")
    hub = request.app[ENGINE].hub
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
    )
    if request.method == hdrs.METH_HEAD:
        return response
    places = request.app[STREAM_PLACES].place(client(request))
    with places, hub.subscribe(last_id, request_id=request_id, run=query.get("run")) as subscriber:
        # Whoever resumes keeps the id it came with until what it missed has been read.
        opened_at = last_id if last_id and ID.fullmatch(last_id) else hub.last_id
        opening = f"retry: {RETRY_MS}\nid: {opened_at}\n\n"
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + random.uniform(*LONGEST_S)
        await response.prepare(request)
        try:
            await response.write(opening.encode())
            while (data := await subscriber.read(PING_S)) is not None:
                await response.write(data or b": ping\n\n")
                if loop.time() > ends_at:
                    await response.write(f"retry: {AGAIN_MS}\n\n".encode())
                    break
            await response.write_eof()
        except ConnectionResetError:
            pass
    return response
