"""Locks on files: what their process holds is free again when it ends, however it ends."""

import sys
from typing import BinaryIO

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
