"""A role with few connections, and a database that is taken away while the service runs."""

import asyncio
import sys
import uuid
from pathlib import Path

import pytest

from reportsim.core.database_address.url import parse_database_url
from reportsim.store.pool import connect
from tests.engine.jobs import until
from tests.faults.load import is_quiet
from tests.faults.process import ServerProcess

TINY = {"ledger": "tiny"}
SLOW = {**TINY, "simulate": {"service_time": {"distribution": "fixed", "mean_ms": 100}, "seed": 1}}


@pytest.mark.parametrize("way", ["setting", "parameter"])
async def test_a_service_opens_no_more_connections_than_it_may(own_dsn: str, tmp_path: Path, way: str) -> None:
    owner = await connect(own_dsn)
    role, name = f"clerk_{uuid.uuid4().hex}", parse_database_url(own_dsn).database
    await owner.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 7; ALTER DATABASE {name} OWNER TO {role}")
    dsn = f"{own_dsn}{'&' if '?' in own_dsn else '?'}user={role}"
    settings = {"REPORTSIM_WORKERS": "16"}
    if way == "setting":
        settings["REPORTSIM_POOL_SIZE"] = "6"
    else:
        dsn += "&connection_limit=6"
    try:
        async with ServerProcess(dsn, tmp_path, **settings) as server, server.client() as api:
            posts = [api.session.post("/api/sync", json=SLOW if n % 2 else TINY) for n in range(30)]
            posts += [api.session.post("/api/async", json=TINY) for _ in range(60)]
            answers = await asyncio.gather(*posts)
            assert {answer.status for answer in answers} == {200, 202}
            await until(lambda: is_quiet(owner))
            command = [sys.executable, "-m", "reportsim", "ledger", "list"]
            beside = await asyncio.create_subprocess_exec(
                *command, env={**server._environ, "DATABASE_URL": dsn}, stdout=-1, stderr=-1
            )
            said = await beside.communicate()
            assert beside.returncode == 0, said
            assert "too many connections" not in server.log
    finally:
        await owner.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")
        await owner.close()


async def test_a_database_that_is_taken_away_is_503_until_it_is_back(
    own_dsn: str, server_dsn: str, tmp_path: Path
) -> None:
    """What would end a start does not end a service that runs: whoever took it away may bring it back."""
    name = parse_database_url(own_dsn).database
    admin = await connect(server_dsn)
    async with ServerProcess(own_dsn, tmp_path) as server, server.client() as api:
        await api.submit(TINY)
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1"
        await admin.fetchval(end, name)
        await admin.execute(f"ALTER DATABASE {name} RENAME TO {name}_away")
        try:
            for path in ("/api/sync", "/api/async"):
                async with api.session.post(path, json=TINY) as answer:
                    assert answer.status == 503
                    assert int(answer.headers["Retry-After"]) >= 1
            async with api.session.get("/healthz") as answer:
                assert answer.status == 200
        finally:
            await admin.execute(f"ALTER DATABASE {name}_away RENAME TO {name}")
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()

        async def accepts() -> bool:
            async with api.session.post("/api/sync", json=TINY) as answer:
                assert answer.status in {200, 503}
                return answer.status == 200

        await until(accepts)
