"""Checks that the database answers and has this build's migrations."""

import asyncio
from typing import Final

from aiohttp import web

from reportsim.store.migrate import MigrationError, is_current
from reportsim.store.pool import OUTAGES
from reportsim.web.keys import ENGINE

CHECK_S: Final = 1.0


async def check_database(request: web.Request) -> tuple[bool, bool]:
    """Whether the database answers in time, and whether its migrations are exactly those of this build."""
    try:
        async with asyncio.timeout(CHECK_S), request.app[ENGINE].readiness.acquire() as connection:
            return True, await is_current(connection)
    except MigrationError:
        return True, False
    except (*OUTAGES, TimeoutError):
        return False, False
