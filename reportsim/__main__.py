"""The command line: `reportsim VERB …`."""

import argparse
import sys
from collections.abc import Sequence

from reportsim import __version__
from reportsim.commands import benchmark, callbacks, ledger, migrate, predict, secret, serve
from reportsim.commands.failure import CommandError
from reportsim.settings import SettingsError

COMMANDS = (serve, migrate, ledger, benchmark, predict, callbacks, secret)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="reportsim", description="Financial reports, sync and async, side by side.")
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for command in COMMANDS:
        command.add_parser(verbs)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (CommandError, SettingsError) as error:
        print(f"reportsim: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
