"""`reportsim serve`: the service, in one process or in several."""

from reportsim.cli.serve.command import add_arguments

__all__ = ["add_arguments"]
