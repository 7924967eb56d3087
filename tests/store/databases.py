"""Databases that a test has for itself."""

import contextlib
import uuid
from collections.abc import AsyncIterator

from reportsim.store.pool import connect
from tests.conftest import on_database


@contextlib.asynccontextmanager
async def empty_database(server_dsn: str) -> AsyncIterator[str]:
    """The address of a database without any table, gone when the block ends."""
    name = f"reportsim_own_{uuid.uuid4().hex}"
    connection = await connect(server_dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield on_database(server_dsn, name)
        finally:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()
