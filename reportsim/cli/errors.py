"""How a command says that it cannot do what it was asked for."""


class CommandError(Exception):
    """Printed as one line; the exit code is 1."""
