"""The ledgers that submissions may name, read from the database and kept for a moment."""

from collections.abc import Callable
from typing import Final

from reportsim.core.model import Ledger
from reportsim.store import ledgers as store
from reportsim.store.pool import Pool

FRESH_S: Final = 1.0


class Ledgers:
    """A cache of all ledgers, a second old at most; an unknown name is looked up at once."""

    def __init__(self, pool: Pool, monotonic: Callable[[], float]) -> None:
        """Makes an empty cache."""
        self._pool = pool
        self._monotonic = monotonic
        self._known: dict[str, Ledger] = {}
        self._read_at = float("-inf")

    async def get(self, name: str) -> Ledger | None:
        """The newest version of a ledger."""
        if self._monotonic() - self._read_at >= FRESH_S or name not in self._known:
            await self.all()
        return self._known.get(name)

    async def all(self) -> list[Ledger]:
        """Every ledger, read anew."""
        ledgers = await store.all_ledgers(self._pool)
        self._known = {ledger.name: ledger for ledger in ledgers}
        self._read_at = self._monotonic()
        return ledgers
