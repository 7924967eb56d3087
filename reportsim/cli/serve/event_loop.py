"""The event loop of a service, and what it spares it."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from reportsim.cli.database import refusals
from reportsim.cli.errors import CommandError
from reportsim.tasks import BackgroundTaskError

T = TypeVar("T")

# Containers made since the last look; Python's own 700 would be a look every few requests.
GARBAGE: Final = 20_000


def run_loop(service: Coroutine[Any, Any, T]) -> T:
    """Runs the service to its end; what it cannot start or go on with is one line."""
    try:
        with refusals(), asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(service)
    except BackgroundTaskError as error:
        raise CommandError(f"{error}: its log says why") from None


def spare_the_collector() -> None:
    """Has the garbage collector look at what requests leave behind less often, and at what is loaded never again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def loop_factory() -> Any:
    """Uvloop's loop when it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
