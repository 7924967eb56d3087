"""Files of this process alone: closed to other users, and locked until the process ends, however it ends."""

import os
import sys
from pathlib import Path
from typing import BinaryIO, Literal

if sys.platform != "win32":
    import fcntl


def lock(handle: BinaryIO) -> bool:
    """Takes a file as long as it is open; False when somebody else has it."""
    if sys.platform != "win32":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def create(path: Path, mode: Literal["wb", "w+b"], buffering: int) -> BinaryIO:
    """Opens an empty file that only its owner may read."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(handle, mode, buffering)
