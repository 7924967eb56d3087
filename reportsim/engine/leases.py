"""Renewing the leases of this replica, on a connection of its own."""

import asyncio
import logging
from datetime import timedelta
from typing import Final
from uuid import UUID

from reportsim.engine.delivery.dispatcher import Dispatcher
from reportsim.engine.worker.worker import Worker
from reportsim.store import requests as store
from reportsim.store.pool import OUTAGES, Connection, connect

log = logging.getLogger(__name__)
RETRY_S: Final = 1.0
MIN_TIMEOUT_S: Final = 2.0


class Leases:
    """Renews every lease of this replica, three times within its length.

    It has a connection of its own, because long COPYs may use all of the pool's.
    """

    def __init__(self, *, dsn: str, owner: UUID, lease: timedelta, worker: Worker, dispatcher: Dispatcher) -> None:
        """Renews the leases of one owner."""
        self._dsn = dsn
        self._owner = owner
        self._lease = lease
        self._worker = worker
        self._dispatcher = dispatcher

    async def run(self) -> None:
        """Renews until it is cancelled, through outages."""
        connection: Connection | None = None
        third = wait = self._lease.total_seconds() / 3
        try:
            while True:
                await asyncio.sleep(wait)
                wait = third
                try:
                    # A connection that hangs is given up before the leases expire.
                    async with asyncio.timeout(max(third, MIN_TIMEOUT_S)):
                        if connection is None or connection.is_closed():
                            connection = await connect(self._dsn)
                        held = self._worker.running_ids, self._dispatcher.held
                        await store.renew(connection, self._owner, self._lease, *held)
                except (*OUTAGES, TimeoutError) as error:
                    log.warning("leases could not be renewed: %r", error)
                    wait = min(third, RETRY_S)
                    if connection is not None:
                        connection.terminate()
                        connection = None
                except Exception:
                    log.exception("leases could not be renewed")
        finally:
            if connection is not None:
                connection.terminate()
