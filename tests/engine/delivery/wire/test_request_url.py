"""What goes out on the wire: the URL byte for byte, on every attempt of every series."""

from dataclasses import replace

import pytest

from reportsim.core.model import CallbackStatus
from reportsim.settings import Settings
from reportsim.store.pool import Pool
from tests.conftest import serving
from tests.engine.delivery.wire.sockets import OPEN, PUBLIC, answering, says

RESOURCES = [
    "/x?sp=%2Ftriggers%2Fmanual%2Frun&u=https%3A%2F%2Fh.example%2Fa%3Fb%3Dc%26d",
    "/%40%3a%3A%2C%21%28%29%7E%7e%c3%a4%C3%A4%41%25%2525%zz",
    "/a/../b/./c/..//d;x=1/%2e%2E/%2f",
    "/x?",
    "/?&&a=&=b&a",
    "/Hooks?Sig=aB%2b+%2F==&x=[1]|^`<>{}",
]


@pytest.mark.parametrize("resource", RESOURCES)
async def test_a_callback_goes_to_its_url_as_it_was_submitted(settings: Settings, pool: Pool, resource: str) -> None:
    busy = says(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    quick = replace(settings, callback_allow=OPEN, callback_waits=(0.01,), callback_attempts=2)
    async with answering(busy) as raw, serving(quick) as service:
        url = f"http://{PUBLIC}:{raw.port}{resource}"
        body = {"ledger": "tiny", "callback_url": f"{url}#fragment"}
        async with service.client.post("/api/async", json=body) as answer:
            accepted = await answer.json()
            assert (answer.status, accepted["callback_url"]) == (202, f"{url}#fragment")
        ended = await service.ended(accepted["id"])
        assert ended["callback_status"] == CallbackStatus.FAILED
        async with service.client.post(f"/api/requests/{accepted['id']}/redeliver") as answer:
            assert answer.status == 202
            await answer.read()
        await service.ended(accepted["id"])
    assert [head.partition(b"\r\n")[0].decode() for head in raw.heads] == [f"POST {resource} HTTP/1.1"] * 4
    assert {line for head in raw.heads for line in head.split(b"\r\n") if line.lower().startswith(b"host:")} == {
        f"Host: {PUBLIC}:{raw.port}".encode()
    }
