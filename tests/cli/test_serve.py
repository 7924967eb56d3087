"""`reportsim serve`: what it says when it is ready, and the order in which it ends."""

import asyncio
import io
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from reportsim.cli.serve.service import let_go
from reportsim.cli.serve.terminal import print_service_facts
from reportsim.web.keys import SETTINGS
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "pipe"])
async def test_a_terminal_is_told_what_a_person_needs(
    service: Service, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    settings = replace(service.app[SETTINGS], port=9000)
    print_service_facts(settings, service.url)
    text = stream.getvalue()
    if not stream.isatty():
        assert text == ""
        return
    lines = {line.split("  ")[1].strip(): line for line in text.splitlines()}
    assert f"{service.url}/" in lines["page"]
    assert "reportsim secret" in lines["secret"]
    assert "REPORTSIM_SYNC_RATE=0 REPORTSIM_ASYNC_RATE=0 make run PORT=9000" in lines["no limits"]
    assert "REPORTSIM_CALLBACK_ALLOW=127.0.0.0/8 make run PORT=9000" in lines["own receiver"]
    assert str(service.app[SETTINGS].data_dir.absolute()) in lines["data"]


async def test_the_home_page_has_the_same_facts_where_only_this_machine_reaches_it(service: Service) -> None:
    folder = str(service.app[SETTINGS].data_dir.absolute())
    for base_url, shown in ((service.url, True), ("https://reports.example.org", False)):
        service.engine.addresses.base_url = base_url
        async with service.client.get("/") as answer:
            text = await answer.text()
        assert (folder in text, "reportsim secret" in text) == (shown, shown)
