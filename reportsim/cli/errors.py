"""How a command says that it cannot do what it was asked for."""

from typing import ClassVar


class CommandError(Exception):
    """Printed as one line."""

    exit_code: ClassVar[int] = 1


class MalformedFileError(CommandError):
    """A file is not what was expected."""

    exit_code = 2
