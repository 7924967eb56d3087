"""Ports for services and receivers of tests."""

import contextlib
import functools
import itertools
import os
import random
import socket
from collections.abc import Iterator
from typing import Final

from reportsim.core.callback_policy.urls import REFUSED_PORTS

# Below those that the system gives to sockets that ask for none.
PORTS: Final = range(20_000, 32_000)


def free_port() -> int:
    """A port that nobody listens at on any address, that may be called, and that no other test is given."""
    for port in candidates():
        if port not in REFUSED_PORTS:
            with contextlib.suppress(OSError), socket.create_server(("0.0.0.0", port)):
                return port
    raise AssertionError("there is always a next one")


@functools.cache
def candidates() -> Iterator[int]:
    """The ports of this worker of pytest-xdist, in random order, again and again."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = list(PORTS[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))])
    random.shuffle(own)
    return itertools.cycle(own)
