"""`reportsim serve`: the order in which it ends."""

import asyncio
from types import SimpleNamespace
from typing import cast

from aiohttp import web

from reportsim.cli.serve.service import let_go
from tests.conftest import Service


async def test_streams_end_before_anybody_else_is_waited_for(service: Service) -> None:
    server = cast(web.Server, SimpleNamespace(connections=["one that stays"]))
    with service.engine.hub.subscribe() as stream:
        going = asyncio.create_task(let_go(service.app, server))
        async with asyncio.timeout(5):
            while await stream.read(1) is not None:
                pass
        assert not going.done()
        await going
