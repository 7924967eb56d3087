"""Looking up host names, in the same way for deliveries and for `callbacks check`."""

import socket
from typing import Any, TypeAlias

Infos: TypeAlias = list[tuple[Any, ...]]  # as socket.getaddrinfo returns them


def look_up(host: str, family: int = socket.AF_UNSPEC) -> Infos:
    """What a name leads to, of the families that this machine has; blocks.

    Raises:
        OSError: it leads nowhere, or is no name.
    """
    try:
        return list(socket.getaddrinfo(host, None, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG))
    except UnicodeError as error:
        raise OSError(str(error)) from None


def address_of(where: tuple[Any, ...]) -> str:
    """The address in a socket's address; a scope is part of it, and nothing with a scope is ever called."""
    return f"{where[0]}%{where[3]}" if len(where) > 3 and where[3] else str(where[0])
