"""The command line: `reportsim VERB …`."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final

from reportsim import __version__
from reportsim.cli.errors import CommandError
from reportsim.cli.signals import interruptible
from reportsim.settings import SettingsError

VERBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "serve": "run the service",
        "migrate": "bring the database up to date",
        "ledger": "list, import, generate and delete ledgers",
        "benchmark": "measure both patterns under one load",
        "measure": "measure services of your own, as a file describes them",
        "predict": "say what queueing theory expects, and at which load time-outs begin",
        "callbacks": "check which URLs may be called back",
        "secret": "print the secret that callbacks are signed with",
    }
)


def parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows every verb by name and the one at hand in full: no other is imported."""
    parser = argparse.ArgumentParser(prog="reportsim", description="Financial reports, sync and async, side by side.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    named = next((word for word in arguments if not word.startswith("-")), None)
    for verb, about in VERBS.items():
        verb_parser = verbs.add_parser(verb, help=about)
        if verb == named:
            import_module(f"reportsim.cli.{verb}").add_arguments(verb_parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    open_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    with interruptible() as signals:
        try:
            options = parser_for(arguments).parse_args(arguments)
            code = int(options.run(options))
            sys.stdout.flush()
        except CommandError as error:
            say(str(error))
            return error.exit_code
        except SettingsError as error:
            say(str(error))
            return 1
        except KeyboardInterrupt:
            number = signals[0] if signals else signal.SIGINT
            say(f"interrupted by {signal.Signals(number).name}")
            return 128 + number
        except BrokenPipeError:
            # Who read has seen enough; the interpreter must not try to flush once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
    return code


def say(sentence: str) -> None:
    """Prints what went wrong, if there is anybody to read it."""
    with contextlib.suppress(OSError):
        print(f"reportsim: {sentence}", file=sys.stderr, flush=True)


def open_standard_streams() -> None:
    """Opens those that were closed: the next file or socket would get their number, and what is written to them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.fstat(number)
                continue
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode))


if __name__ == "__main__":
    sys.exit(main())
