"""Measures what is claimed about speed, and writes docs/performance.md: `python -m benchmarks [PART ...]`.

Parts that need what is not installed here say so and are left out.
"""

import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from benchmarks.harness.options import NotInstalledError, Options, parse
from benchmarks.harness.page import describe_run, write_section
from benchmarks.harness.program import printed
from benchmarks.parts import copy, growth, ledgers, plain, requests, streams


@dataclass(frozen=True)
class Part:
    """A section of the page: its heading, what measures it and writes its text, and whether another checkout may be."""

    title: str
    run: Callable[[Options], str]
    against: bool = False


def measure_service(options: Options) -> str:
    """Accepts, reports and refusals, by the trivial handler of the same service."""
    if not shutil.which("wrk"):
        raise NotInstalledError("wrk is not installed")
    return printed(options, "benchmarks.accept", "benchmarks.engine", "benchmarks.refusals")


def measure_queues(options: Options) -> str:
    """The queue beside others."""
    return printed(options, "benchmarks.peers.queues", python=plain.PYTHON)


def measure_callbacks(options: Options) -> str:
    """Callbacks by a bare client."""
    return printed(options, "benchmarks.callbacks")


# In the order of the page.
PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        "growth": Part(growth.TITLE, growth.run, against=True),
        "requests": Part(requests.TITLE, requests.run, against=True),
        "ledgers": Part(ledgers.TITLE, ledgers.run, against=True),
        "copy": Part(copy.TITLE, copy.run),
        "plain": Part(plain.TITLE, plain.run),
        "service": Part("Accepts, reports and refusals by the trivial handler", measure_service),
        "queues": Part("Queues of Python on the same PostgreSQL", measure_queues),
        "callbacks": Part("Callbacks by a bare client", measure_callbacks),
        "streams": Part(streams.TITLE, streams.run),
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures some parts, or all."""
    options = parse(arguments, list(PARTS))
    missing = [name for name in options.parts if not measure(name, options)]
    return int(bool(missing))


def measure(name: str, options: Options) -> bool:
    """Measures a part and writes its section; says whether that worked."""
    print(f"== {name}", flush=True)
    part, began = PARTS[name], time.monotonic()
    try:
        text = part.run(options)
    except NotInstalledError as missing:
        print(f"left out: {missing}", flush=True)
        return False
    except Exception:
        # What the other parts measured is not lost with it.
        traceback.print_exc()
        return False
    minutes = (time.monotonic() - began) / 60
    checkouts = options.checkouts if part.against else options.checkouts[:1]
    run = describe_run(checkouts, f"{options}, {minutes:.0f} min")
    print(f"{text}\n{run}", flush=True)
    write_section(options.page, list(PARTS), name, f"## {part.title}\n\n{text.strip()}\n\n{run}")
    return True


if __name__ == "__main__":
    # What was started is ended, as at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
