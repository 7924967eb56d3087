"""The levels of all leaky buckets, in memory that the processes of a service share.

A table of sets, each with places for a few buckets: the key determines the set, and where that is full the bucket that
was used least recently is replaced.
"""

import mmap
from struct import Struct
from typing import Final

from reportsim.processes.locks import ProcessLock

KEY_BYTES: Final = 8
PLACES: Final = 16
# Room for twice as many as are promised, so that hardly any set is full before.
SETS: Final = 1 << 14
KEYS_BYTES: Final = PLACES * KEY_BYTES
STATE: Final = Struct("<dd")
CHECKS: Final = Struct("<" + "8xd" * PLACES)
SET_BYTES: Final = KEYS_BYTES + PLACES * STATE.size
TABLE_BYTES: Final = SETS * SET_BYTES


class BucketTable:
    """Bucket states by key. A key has 8 bytes that are spread evenly, as those of a hash."""

    def __init__(self, file: int | None = None, sets: int = SETS) -> None:
        """Shares the memory of a file with other processes, or has memory of its own."""
        self._lock = None if file is None else ProcessLock(file)
        self._memory = mmap.mmap(-1 if file is None else file, sets * SET_BYTES)
        self._sets = sets

    def __len__(self) -> int:
        """The number of buckets; it looks through the whole table."""
        keys = (self._memory[at : at + KEYS_BYTES] for at in range(0, self._sets * SET_BYTES, SET_BYTES))
        return sum(any(part[i : i + KEY_BYTES]) for part in keys for i in range(0, KEYS_BYTES, KEY_BYTES))

    def lock(self, key: bytes) -> bool:
        """Keeps other processes from a bucket; False when it need not be, or cannot be, unlocked."""
        return self._lock is not None and self._lock.acquire(self._set_of(key))

    def unlock(self, key: bytes) -> None:
        """Lets other processes have a bucket."""
        if self._lock is not None:
            self._lock.release(self._set_of(key))

    def read(self, key: bytes) -> tuple[float, float]:
        """The level of a bucket, and the time at which it was that; both are 0 for a bucket that is not there."""
        start = self._set_of(key) * SET_BYTES
        place = self._find(start, key)
        if place is None:
            return 0.0, 0.0
        level, checked = STATE.unpack_from(self._memory, start + KEYS_BYTES + place * STATE.size)
        return level, checked

    def write(self, key: bytes, level: float, checked: float) -> None:
        """Stores the state of a bucket."""
        start = self._set_of(key) * SET_BYTES
        place = self._find(start, key)
        if place is None:
            place = self._oldest(start)
            self._memory[start + place * KEY_BYTES : start + (place + 1) * KEY_BYTES] = key
        STATE.pack_into(self._memory, start + KEYS_BYTES + place * STATE.size, level, checked)

    def _set_of(self, key: bytes) -> int:
        return int.from_bytes(key, "little") % self._sets

    def _find(self, start: int, key: bytes) -> int | None:
        keys = self._memory[start : start + KEYS_BYTES]
        at = keys.find(key)
        while at > 0 and at % KEY_BYTES:
            at = keys.find(key, at + 1)
        return at // KEY_BYTES if at >= 0 else None

    def _oldest(self, start: int) -> int:
        """The place that is free or was used least recently."""
        checks = CHECKS.unpack_from(self._memory, start + KEYS_BYTES)
        return min(range(PLACES), key=checks.__getitem__)
