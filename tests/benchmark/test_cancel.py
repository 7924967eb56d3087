"""What a sync server does about clients that left, by the run's policy."""

import asyncio
import uuid
from typing import Any, Final

import pytest

from reportsim.benchmark.load.messages import RUN_HEADER
from reportsim.benchmark.plan import Cancel
from reportsim.core.model import Status
from reportsim.store.pool import Pool
from reportsim.web.keys import RUNNER
from tests.api.calls import held_for, until
from tests.benchmark.test_runs import ENDLESS, running, started
from tests.conftest import Service

BOTH_STAY: Final = [Status.PROCESSING, Status.PENDING]
LEFT: Final = {
    Cancel.NONE: BOTH_STAY,
    Cancel.QUEUED: [Status.PROCESSING, Status.FAILED],
    Cancel.RUNNING: [Status.FAILED, Status.FAILED],
}


async def test_clients_that_leave_take_along_what_the_policy_says(
    service: Service, pool: Pool, subtests: pytest.Subtests
) -> None:
    for policy, expected in LEFT.items():
        with subtests.test(policy.value):
            id = await started(service, {**ENDLESS, "rate": 0.1, "workers": 1, "cancel": policy})
            await running(service, id, progress=False)
            run = service.app[RUNNER].current
            assert run is not None

            async def states(id: str = id) -> list[str]:
                rows = await pool.fetch(
                    "SELECT status FROM requests WHERE run_id = $1 AND input_payload::text LIKE '%60000%' ORDER BY id",
                    uuid.UUID(id),
                )
                return [row["status"] for row in rows]

            async def waits(token: str = run.token) -> Any:
                async with service.client.post(
                    "/api/sync", json=held_for(60_000), headers={RUN_HEADER: token}
                ) as answer:
                    return await answer.read()

            clients = []
            for number in (1, 2):
                clients.append(asyncio.create_task(waits()))

                async def there(number: int = number) -> bool:
                    found = await states()
                    return len(found) == number and found[0] == Status.PROCESSING

                await until(there)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

            async def are_as_expected(expected: list[Status] = expected) -> bool:
                return await states() == expected

            await until(are_as_expected)
            if policy is Cancel.RUNNING:
                # The slot is free again: the next one begins.
                async with service.client.post(
                    "/api/sync", json={"ledger": "tiny"}, headers={RUN_HEADER: run.token}
                ) as answer:
                    assert answer.status == 200
            else:
                await asyncio.sleep(0.05)
                assert await states() == expected
            async with service.client.post(f"/api/benchmark/{id}/cancel") as answer:
                assert answer.status == 200
