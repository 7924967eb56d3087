"""The command line: `reportsim VERB …`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final

from reportsim import __version__
from reportsim.commands.failure import CommandError
from reportsim.settings import SettingsError

VERBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "serve": "run the service",
        "migrate": "bring the database up to date",
        "ledger": "list, import, generate and delete ledgers",
        "benchmark": "measure both patterns under one load",
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
            import_module(f"reportsim.commands.{verb}").add_arguments(verb_parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser_for(arguments).parse_args(arguments)
    try:
        return int(options.run(options))
    except (CommandError, SettingsError) as error:
        print(f"reportsim: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
