"""`reportsim ledger`: list, import, generate, verify and delete ledgers."""

from reportsim.cli.ledger.command import add_arguments

__all__ = ["add_arguments"]
