"""Keeps the embedded PostgreSQL of a service running: one that was killed is started again."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from reportsim.store.embedded_postgres.cluster import SOCKET
from reportsim.store.embedded_postgres.server import EmbeddedPostgres
from reportsim.tasks import start, wait_for_end

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
ANSWER_S: Final = 5.0
START_S: Final = 90.0
# Starts in a row that fail until it is left alone; each waits twice as long as the one before.
TRIES: Final = 6


@contextlib.asynccontextmanager
async def keep_running(embedded: EmbeddedPostgres | None, data_dir: Path) -> AsyncIterator[None]:
    """Looks after the server as long as the block lasts; a database of somebody else is theirs to look after."""
    if embedded is None:
        yield
        return
    looking = start(look_after(data_dir, embedded.sockets), name="embedded-postgresql")
    try:
        yield
    finally:
        looking.cancel()
        await wait_for_end(looking)


async def look_after(data_dir: Path, sockets: Path) -> None:
    """Starts the server again whenever nobody listens at its socket; gives up after some tries in a row."""
    failures = 0
    while failures < TRIES:
        await asyncio.sleep(LOOK_S * 2**failures)
        if await listens(sockets / SOCKET):
            continue
        log.warning("the embedded PostgreSQL is gone: starting it again")
        if (reason := await start_again(data_dir, sockets)) is None:
            log.warning("the embedded PostgreSQL runs again")
            failures = 0
        else:
            failures += 1
            log.error("the embedded PostgreSQL did not start: %s", reason)
    log.critical("the embedded PostgreSQL is left alone after %d tries: start the service again", TRIES)


async def listens(address: Path) -> bool:
    """Whether there is a server at a socket, be it busy."""
    try:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_unix_connection(address)
    except TimeoutError:
        return True
    except OSError:
        return False
    writer.close()
    return True


async def start_again(data_dir: Path, sockets: Path) -> str | None:
    """Starts the server by a process of its own, since that blocks; returns why it could not."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reportsim.store.embedded_postgres.server", str(data_dir), str(sockets)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(START_S):
            _, said = await process.communicate()
    except TimeoutError:
        return f"it took more than {START_S:g} s"
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return said.decode(errors="replace").strip()[-2_000:] if process.returncode else None
