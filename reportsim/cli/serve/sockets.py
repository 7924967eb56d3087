"""The listening sockets of a service."""

import contextlib
import socket
from collections.abc import Iterator

from reportsim.cli.errors import CommandError


def bind(host: str, port: int) -> socket.socket:
    """The listening socket, made first, so that a taken port is said before anything is started."""
    with said_in_one_line(host, port):
        family, _, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return bind_address(family, protocol, address)


def bind_group(host: str, port: int, count: int) -> list[socket.socket]:
    """Listening sockets at one address, among which the kernel divides new connections.

    Sockets of another service of the same user could join such a group, so that its address has to be free before.
    """
    with bind(host, port) as probe:
        family, protocol, address = probe.family, probe.proto, probe.getsockname()
    with contextlib.ExitStack() as undo, said_in_one_line(host, port):
        group = []
        for _ in range(count):
            group.append(undo.enter_context(bind_address(family, protocol, address, shared=True)))
        undo.pop_all()
        return group


def bind_address(family: int, protocol: int, address: object, *, shared: bool = False) -> socket.socket:
    """A socket that is bound to an address, which others may share."""
    listening = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)  # type: ignore[arg-type]  # of its family
    except OSError:
        listening.close()
        raise
    return listening


@contextlib.contextmanager
def said_in_one_line(host: str, port: int) -> Iterator[None]:
    """Makes one line of why an address cannot be listened at."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "set REPORTSIM_HOST and REPORTSIM_PORT to an address of this machine that is free"
        raise CommandError(f"cannot listen on {host} port {port}: {reason}: {advice}") from None
