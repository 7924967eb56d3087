"""What several tests submit, and the calls that they make."""

from typing import Any, Final

from multidict import CIMultiDictProxy

from tests.conftest import Service
from tests.engine.jobs import until as until

UNKNOWN: Final = "01a20c3d-8abb-79ad-be1e-3eae1fd1c9f4"
TINY: Final = {"ledger": "tiny"}
FAILING: Final = {**TINY, "simulate": {"failure_rate": 1, "seed": 1}}


def held_for(milliseconds: int) -> dict[str, Any]:
    """A submission whose report holds its slot for so long."""
    return {**TINY, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": milliseconds}, "seed": 1}}


async def submit(service: Service, path: str = "/api/async", body: dict[str, Any] | None = None) -> str:
    """The id of a request that was just accepted."""
    async with service.client.post(path, json=TINY if body is None else body) as answer:
        answered = await answer.json()
        assert answer.status in {200, 202}, answered
    return str(answered["id"])


async def read(service: Service, path: str) -> Any:
    """The JSON of an answer that must be there."""
    async with service.client.get(path) as answer:
        assert answer.status == 200
        return await answer.json()


async def fetch(service: Service, path: str, **headers: str) -> tuple[int, CIMultiDictProxy[str], bytes]:
    """Status, headers and body of an answer; a header's name is written with underscores."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with service.client.get(path, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def post(service: Service, path: str, body: Any = TINY, **headers: str) -> tuple[int, CIMultiDictProxy[str], Any]:
    """Status, headers and JSON of an answer to a submission; a header's name is written with underscores."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with service.client.post(path, json=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.json()


async def listed(service: Service) -> list[str]:
    """The ids of all requests, newest first."""
    return [item["id"] for item in (await read(service, "/api/requests?limit=200"))["items"]]


async def logs_of(service: Service, id: str) -> list[dict[str, Any]]:
    """The callback attempts of a request."""
    items: list[dict[str, Any]] = (await read(service, f"/api/requests/{id}/callback-logs"))["items"]
    return items


async def processing(service: Service, id: str) -> None:
    """Waits until a request holds a slot."""

    async def is_processing() -> bool:
        return bool((await read(service, f"/api/requests/{id}"))["status"] == "PROCESSING")

    await until(is_processing)
