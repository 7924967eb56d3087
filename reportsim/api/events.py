"""GET /api/events: the messages of the event hub as Server-Sent Events."""

import asyncio
import contextlib
import random
import re
import socket
from typing import Final
from uuid import UUID

from aiohttp import hdrs, web

from reportsim.core.model import Mode
from reportsim.schemas.events import EventsQuery
from reportsim.web.benchmark_runs import find_visit
from reportsim.web.keys import ENGINE
from reportsim.web.limits.client_address import client_key
from reportsim.web.limits.concurrency_limit import STREAM_LIMIT
from reportsim.web.query_parameters import load_query
from reportsim.web.server.send_buffers import write_in_chunks

EVENT_ID: Final = re.compile(r"[0-9a-f]{1,32}-[0-9]{1,18}", re.ASCII)
PING_S: Final = 15.0
KERNEL_BUFFER: Final = 64 * 1024
RETRY_MS: Final = 2000
# Streams have a maximum lifetime; it is random, so that streams opened together do not reconnect together.
STREAM_LIFETIME_S: Final = (600.0, 900.0)
RECONNECT_MS: Final = 50


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Streams events: those missed since `Last-Event-ID`, then new ones."""
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
    in_run = find_visit(request, Mode.ASYNC) is not None
    permit = contextlib.nullcontext() if in_run else request.app[STREAM_LIMIT].permit(client_key(request))
    with permit, hub.subscribe(last_id, request_id=request_id, run=query.get("run")) as subscriber:
        # A client that resumes keeps its id until it has read the missed events.
        first_id = last_id if last_id and EVENT_ID.fullmatch(last_id) else hub.last_id
        opening = f"retry: {RETRY_MS}\nid: {first_id}\n\n"
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + random.uniform(*STREAM_LIFETIME_S)
        await response.prepare(request)
        if (stream := request.get_extra_info("socket")) is not None:
            # By default the kernel buffers megabytes for a client that does not read.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
        try:
            await write_in_chunks(response, opening.encode())
            while (data := await subscriber.read(PING_S)) is not None:
                await write_in_chunks(response, data or b": ping\n\n")
                if loop.time() > ends_at:
                    await write_in_chunks(response, f"retry: {RECONNECT_MS}\n\n".encode())
                    break
            await response.write_eof()
        except ConnectionResetError:
            pass
    return response
