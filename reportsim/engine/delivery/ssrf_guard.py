"""The guard of callbacks: no connection is opened that the address policy does not allow.

An address is held against the policy when the resolver has answered, and again when its socket is made: literals
never see a resolver, and whatever the client does next is still held at the socket.
"""

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.callback_policy.targets import own_route
from reportsim.core.callback_policy.urls import CallbackTarget, OwnReceiver, Refusal, check_dial, check_url, leads_under
from reportsim.engine.delivery.name_lookup import Infos, address_of, look_up

# Names that are being looked up at once: those of destinations that answered lately have places of their own.
MOST_LOOKUPS: Final = 384
MOST_KNOWN_LOOKUPS: Final = 128
LOOKUP_WAIT_S: Final = 1.0
MOST_ADDRESSES: Final = 4

MOST_REMEMBERED: Final = 1_024


class ResourceShortage(Exception):
    """This service has no room for an attempt, which therefore was none."""


class RefusedAddress(OSError):
    """The policy forbids the address; raised before any packet is sent."""


@dataclass(slots=True)
class Dial:
    """One attempt as its connections see it: where it leads, what was dialed, and what the policy refused.

    `known` says that the destination answered lately; `kept` is the address of a connection that was there before.
    """

    target: CallbackTarget
    known: bool = False
    kept: str | None = None
    refusal: Refusal | None = None
    open: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    @property
    def peer(self) -> str | None:
        """The address that was connected to, else the last one dialed.

        Addresses of a name are raced; those that lose are closed before the one that has won is made use of.
        """
        return next(reversed((*self.closed, *self.open)), self.kept)


current: ContextVar[Dial] = ContextVar("dial")


class DialedSocket(socket.socket):
    """A socket that tells its dial when it is closed."""

    def __init__(self, dial: Dial, address: str, family: int, kind: int, protocol: int) -> None:
        """Opens the socket; it is not connected yet."""
        super().__init__(family, kind, protocol)
        self._dial: Dial | None = dial
        self._address = address
        dial.open.append(address)

    def close(self) -> None:
        """Closes the socket; closing it again has no effect."""
        if self._dial is not None:
            self._dial.open.remove(self._address)
            self._dial.closed.append(self._address)
            self._dial = None
        super().close()


class SsrfGuard:
    """The address policy of this service, as it stands at the moment."""

    def __init__(self, allow: AllowList, own: Sequence[OwnReceiver]) -> None:
        """Takes the policy; `own` may be exchanged while the guard is in use.

        `everywhere` is the port at which the service listens on every address of this machine, if it does,
        and `public` are the host and port at which a proxy lets others reach it, if one does.
        """
        self.allow = allow
        self.own = own
        self.everywhere: int | None = None
        self.public: tuple[str, int] | None = None
        self._decided_by: tuple[object, ...] = ()

    @contextlib.contextmanager
    def admitting(self, receiver: OwnReceiver) -> Iterator[None]:
        """Lets one more receiver of our own be called, as long as the block lasts."""
        self.own = [*self.own, receiver]
        try:
            yield
        finally:
            self.own = [other for other in self.own if other is not receiver]

    @property
    def origins(self) -> list[str]:
        """Scheme, host and port of the receivers of our own."""
        return [str(receiver).removesuffix(receiver.path_prefix) for receiver in self.own]

    def check_url(self, url: str) -> CallbackTarget | Refusal:
        """Decides at submit whether a URL may be called at all; what was decided lately is remembered."""
        if self._decided_by != (policy := (self.allow, *self.own)):
            decide = functools.partial(check_url, allow=self.allow, own=tuple(self.own))
            self._decided_by, self._decide = policy, functools.lru_cache(MOST_REMEMBERED)(decide)
        verdict = self._decide(url)
        if isinstance(verdict, Refusal) or verdict.own or (verdict.host, verdict.port) != self.public:
            return verdict
        if any(leads_under(verdict, receiver.path_prefix) for receiver in self.own):
            return verdict
        return Refusal("own-route", own_route(self.own))

    def policy_for(self, target: CallbackTarget) -> tuple[object, ...]:
        """What decides about a target's addresses: as long as it stays equal, so does what `check` says of each."""
        return target.own, self.allow, self.everywhere, *self.own

    def check(self, address: str, port: int) -> None:
        """Raises RefusedAddress unless the attempt at hand may be made there."""
        dial = current.get()
        refusal = check_dial(address, port, dial.target, self.allow, self.own)
        if refusal is None and port == self.everywhere and not dial.target.own and is_here(address, port):
            refusal = Refusal("own-route", own_route(self.own))
        if refusal is not None:
            dial.refusal = refusal
            raise RefusedAddress(refusal.detail)

    def socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Makes the socket for one candidate address: the last line."""
        family, kind, protocol, _, where = address
        self.check(where[0], where[1])
        return DialedSocket(current.get(), where[0], family, kind, protocol)


def is_here(address: str, port: int) -> bool:
    """Whether an address is one of this machine's, which is what the kernel would then answer from."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, port))  # of UDP: sends nothing
        return ip_address(probe.getsockname()[0]) == ip_address(address)
    return False


class HostResolver(AbstractResolver):
    """The system's resolver, with a thread for each name that is being looked up.

    A lookup that hangs holds up neither other names, as it would in a pool of threads, nor the end of the process.
    """

    def __init__(self) -> None:
        """Knows no name; nothing is kept beyond an answer."""
        self._running: dict[str, asyncio.Future[Infos]] = {}
        self._places = asyncio.Semaphore(MOST_LOOKUPS)
        self._known_places = asyncio.Semaphore(MOST_KNOWN_LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host; concurrent calls for the same host share one lookup.

        Raises:
            ResourceShortage: too many other names are being looked up.
            OSError: the name leads nowhere.
        """
        running = self._running.get(host) or await self._start(host, family)
        return [
            ResolveResult(
                hostname=host,
                host=address_of(where),
                port=port,
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, where in await asyncio.shield(running)
        ]

    async def _start(self, host: str, family: socket.AddressFamily) -> "asyncio.Future[Infos]":
        dial = current.get(None)
        places = self._known_places if dial is not None and dial.known else self._places
        try:
            async with asyncio.timeout(LOOKUP_WAIT_S):
                await places.acquire()
        except TimeoutError:
            raise ResourceShortage("too many names are being looked up") from None
        if other := self._running.get(host):
            places.release()
            return other
        loop = asyncio.get_running_loop()
        running: asyncio.Future[Infos] = loop.create_future()

        def ended(found: Infos | OSError) -> None:
            del self._running[host]
            places.release()
            if isinstance(found, OSError):
                running.set_exception(found)
                running.exception()  # who asked may have left
            else:
                running.set_result(found)

        def look() -> None:
            found: Infos | OSError
            try:
                found = look_up(host, family)
            except OSError as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(ended, found)

        try:
            threading.Thread(target=look, name=f"look-up-{host}", daemon=True).start()
        except RuntimeError as error:
            places.release()
            raise ResourceShortage(str(error)) from None
        self._running[host] = running
        return running

    async def close(self) -> None:
        """Leaves what is being looked up to itself."""


class GuardedResolver(AbstractResolver):
    """Resolves once per attempt and refuses all answers when a single one is refused."""

    def __init__(self, guard: SsrfGuard, resolver: AbstractResolver) -> None:
        """Wraps the resolver that really asks."""
        self._guard = guard
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The first few answers for a host, once all of them are allowed."""
        answers = await self._resolver.resolve(host, port, family)
        if not answers:
            raise OSError("the name has no address")
        for answer in answers:
            self._guard.check(answer["host"], port)
        return answers[:MOST_ADDRESSES]

    async def close(self) -> None:
        """Closes the wrapped resolver."""
        await self._resolver.close()
