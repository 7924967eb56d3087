"""The addresses at which a service is reached: in links, by its own callbacks, and by its own load generator."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from yarl import URL

from reportsim.core.callback_policy.addresses import parse_address
from reportsim.core.callback_policy.urls import OwnReceiver
from reportsim.engine.delivery.ssrf_guard import SsrfGuard
from reportsim.settings import Settings

DEMO_PATH: Final = "/webhook-test/"


class OwnAddresses:
    """The addresses of one process, which its guard of callbacks knows, too."""

    def __init__(self, settings: Settings, guard: SsrfGuard) -> None:
        """Knows the address of the settings until a socket listens."""
        self._public_url = settings.public_url
        self._guard = guard
        self._private: OwnReceiver | None = None
        self.demo: OwnReceiver | None = None
        self.base_url = settings.public_url or f"http://{settings.host}:{settings.port}"

    def listen_on(self, host: str, port: int) -> None:
        """Sets the address of the listening socket: that of the demo receiver, and of links without a public URL."""
        address = ip_address(host)
        if address.is_unspecified:
            address = ip_address("::1" if address.version == 6 else "127.0.0.1")
            self._guard.everywhere = port
        self.demo = OwnReceiver(address, port, DEMO_PATH)
        self._guard.own = [self.demo]
        if self._public_url:
            public = URL(self._public_url)
            name = (public.raw_host or "").removesuffix(".").lower()
            self._guard.public = str(parse_address(name) or name), public.port or 0
        self.base_url = self._public_url or str(self.demo).removesuffix(DEMO_PATH)

    def listen_privately(self, addresses: Sequence[tuple[str, int]], index: int) -> None:
        """Adds the private addresses of all processes of a service, of which one leads here; `listen_on` first."""
        private = [OwnReceiver(ip_address(host), port, DEMO_PATH) for host, port in addresses]
        self._guard.own = [*self._guard.own, *private]
        self._private = private[index]

    @property
    def own_url(self) -> str | None:
        """The address of a listening socket that leads to this process; None before it listens."""
        receiver = self._private or self.demo
        return str(receiver).removesuffix(DEMO_PATH) if receiver else None
