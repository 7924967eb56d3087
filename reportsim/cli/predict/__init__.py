"""`reportsim predict`: what queueing theory expects of a load."""

from reportsim.cli.predict.command import add_arguments

__all__ = ["add_arguments"]
