"""`reportsim benchmark`: the load test on both patterns."""

from reportsim.cli.benchmark.command import add_arguments

__all__ = ["add_arguments"]
