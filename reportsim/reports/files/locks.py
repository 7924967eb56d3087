"""Files that only this user may read, and that are locked until this process ends, however it ends."""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO


def lock(handle: BinaryIO) -> bool:
    """Locks a file as long as it is open; False when another process has locked it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def create(path: Path, buffering: int) -> BinaryIO:
    """Opens an empty file that only its owner may read."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(handle, "wb", buffering)
