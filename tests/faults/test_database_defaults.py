"""Two services on a database whose default isolation is not the service's own: nothing is lost, nothing is 500."""

import asyncio
import contextlib
from collections import Counter, defaultdict
from pathlib import Path

import aiohttp
import pytest

from reportsim.store.pool import connect
from tests.engine.jobs import until
from tests.engine.receiver import Receiver
from tests.faults.load import is_quiet
from tests.faults.process import ServerProcess
from tests.pooler import pooled

TINY = {"ledger": "tiny"}
CLIENTS = 12
KEYS = 100
REPEATS = 3
SYNC = 34


@pytest.mark.slow
@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
@pytest.mark.parametrize("mode", [None, "transaction", "session"])
async def test_clients_that_repeat_their_keys_get_one_answer_each(
    own_dsn: str, tmp_path: Path, receiver: Receiver, level: str, mode: str | None
) -> None:
    connection = await connect(own_dsn)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    statuses: Counter[tuple[str, int]] = Counter()
    answers: dict[str, set[str]] = defaultdict(set)
    work = [(f"key-{n}", "/api/sync" if n < SYNC else "/api/async") for n in range(KEYS)] * REPEATS

    async def call(urls: list[str]) -> None:
        async with aiohttp.ClientSession() as session:
            while work:
                key, path = work.pop()
                body = TINY if path == "/api/sync" else {**TINY, "callback_url": receiver.url()}
                while True:
                    url = urls[len(work) % 2]
                    async with session.post(url + path, json=body, headers={"X-Idempotency-Key": key}) as answer:
                        document = await answer.json(content_type=None)
                    statuses[path, answer.status] += 1
                    if answer.status not in {409, 503}:
                        break
                    await asyncio.sleep(0.02)
                answers[key].add(str(document.get("id", answer.status)))

    with pooled(own_dsn, mode=mode) if mode else contextlib.nullcontext(own_dsn) as dsn:
        # In session mode, both together must fit into the pooler's connections.
        size = {"REPORTSIM_POOL_SIZE": "10"}
        async with (
            ServerProcess(dsn, folders[0], **size) as one,
            ServerProcess(dsn, folders[1], **size) as other,
        ):
            await asyncio.gather(*(call([one.url, other.url]) for _ in range(CLIENTS)))
            await until(lambda: is_quiet(connection), timeout=15)
            logs = one.log + other.log
    rows = await connection.fetch("SELECT status, tries, callback_status FROM requests")
    await connection.close()
    print(f"\n{dict(statuses)}")
    assert {status for _, status in statuses} <= {200, 202, 409, 503}
    assert {key: found for key, found in answers.items() if len(found) != 1} == {}
    assert Counter(tuple(row) for row in rows) == {
        ("COMPLETED", 1, None): SYNC,
        ("COMPLETED", 1, "SUCCESS"): KEYS - SYNC,
    }
    assert len({arrival.message_id for arrival in receiver.arrivals}) == KEYS - SYNC
    assert "SerializationError" not in logs
