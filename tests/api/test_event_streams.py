"""Streams: what every proxy and browser needs, silence that is no death, an end that is no loss."""

import asyncio
from dataclasses import replace

import pytest
from yarl import URL

from reportsim.api import events
from reportsim.settings import Settings
from tests.api.calls import submit
from tests.conftest import Service, serving


async def test_the_headers_keep_everybody_from_buffering(service: Service) -> None:
    async with service.client.get("/api/events", headers={"Accept-Encoding": "gzip"}) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["Cache-Control"] == "no-cache"
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in stream.headers
        assert "Content-Length" not in stream.headers
        assert (await stream.content.readline()).startswith(b"retry: ")


async def test_silence_is_broken_by_comments(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PING_S", 0.05)
    async with asyncio.timeout(20), service.client.get("/api/events") as stream:
        await stream.content.readuntil(b"\n\n")
        for _ in range(3):
            assert await stream.content.readuntil(b"\n\n") == b": ping\n\n"


async def test_a_stream_ends_after_a_while_and_goes_on_where_it_was(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PING_S", 0.05)
    monkeypatch.setattr(events, "STREAM_LIFETIME_S", (0.1, 0.2))
    async with asyncio.timeout(20), service.client.get("/api/events") as stream:
        text = (await stream.read()).decode()  # to its clean end
    # The browser is asked to come back at once, and then to be patient again.
    assert text.endswith(f"retry: {events.RECONNECT_MS}\n\n")
    last_id = text.split("id: ")[1].split("\n")[0]
    id = await submit(service, "/api/sync")
    async with asyncio.timeout(20), service.client.get("/api/events", headers={"Last-Event-ID": last_id}) as stream:
        text = (await stream.read()).decode()
    assert text.startswith(f"retry: {events.RETRY_MS}\n")
    assert id in text
    assert "event: reset" not in text


async def test_an_id_of_the_caller_puts_nothing_into_the_stream(
    service: Service, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setattr(events, "PING_S", 0.02)
    monkeypatch.setattr(events, "STREAM_LIFETIME_S", (0.05, 0.1))
    for made_up in (
        "abc-1%0Adata:%20made-up",
        "abc-1%0D%0A%0D%0Aevent:%20made-up",
        "made-up",
        "%00made-up",
        "%C3%A9-1",
    ):
        with subtests.test(made_up=made_up):
            url = URL(f"/api/events?last_event_id={made_up}", encoded=True)
            async with asyncio.timeout(20), service.client.get(url) as stream:
                assert stream.status == 200
                text = (await stream.read()).decode()
            assert "made-up" not in text
            assert "event: reset" in text


async def test_a_reader_that_does_not_read_costs_nobody_anything(settings: Settings) -> None:
    async with serving(replace(settings, workers=4)) as service:
        asleep = await service.client.get("/api/events")
        async with asyncio.timeout(20), service.client.get("/api/events") as awake:
            seen = 0
            for _ in range(5):
                await asyncio.gather(*(submit(service) for _ in range(20)))
                while b"data: " not in (line := await awake.content.readline()):
                    assert line
                seen += 1
        assert seen == 5
        asleep.close()
