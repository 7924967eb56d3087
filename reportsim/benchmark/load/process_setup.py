"""What a process that measures asks of its system and its interpreter."""

import asyncio
import contextlib
import gc
import os
import resource
from collections.abc import Iterator
from typing import Any, Final

MOST_FILES: Final = 65_536


def collect_garbage() -> None:
    """Collects garbage between the blocks, so that none need be collected in one: that would make requests late."""
    gc.disable()
    gc.collect()
    gc.freeze()


def loop_failure() -> "asyncio.Future[str]":
    """Completes with the first error of the event loop itself, such as a listening socket that no longer accepts.

    A process that measures must not go on then: callbacks that it does not receive would count as lost.
    """
    loop = asyncio.get_running_loop()
    failure: asyncio.Future[str] = loop.create_future()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not failure.done():
            loop.default_exception_handler(context)
            failure.set_result(str(context.get("exception") or context["message"]))

    loop.set_exception_handler(handle)
    return failure


def allow_files() -> None:
    """Lets this process open as many connections as the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextlib.contextmanager
def raise_priority() -> Iterator[None]:
    """Raises the priority of this process, where that is allowed, for as long as the context lasts.

    A process that measures time must not wait for the processor, as it would not on a machine of its own. Niceness
    alone is not enough: a process that has begun its slice keeps it for milliseconds, and Linux weighs niceness within
    a session only.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            usual = os.sched_getscheduler(0), os.sched_getparam(0)
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
            stack.callback(os.sched_setscheduler, 0, *usual)
        yield
