"""The ledgers that submissions may name, as they were last read.

What is remembered may be out of date, for any length of time: the statement that accepts a request refuses it then, and
the ledger is read again. So accepting costs no look-up, and still sees what has been committed before.
"""

from reportsim.core.model import Ledger
from reportsim.store import ledgers as store
from reportsim.store.pool import Pool


class LedgerCache:
    """A cache of ledgers by name."""

    def __init__(self, pool: Pool) -> None:
        """Makes an empty cache."""
        self._pool = pool
        self._known: dict[str, Ledger] = {}

    async def get(self, name: str) -> Ledger | None:
        """A ledger as it was last read; one that is not known is read now."""
        return self._known.get(name) or await self.read(name)

    async def read(self, name: str) -> Ledger | None:
        """A ledger as it is now."""
        ledger = await store.find(self._pool, name)
        if ledger is None:
            self._known.pop(name, None)
        else:
            self._known[name] = ledger
        return ledger

    async def all(self) -> list[Ledger]:
        """Every ledger as it is now."""
        ledgers = await store.all_ledgers(self._pool)
        self._known = {ledger.name: ledger for ledger in ledgers}
        return ledgers
