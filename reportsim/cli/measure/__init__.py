"""`reportsim measure`: the same instrument on services that are not our own."""

from reportsim.cli.measure.command import add_arguments

__all__ = ["add_arguments"]
