"""Which IP addresses a callback may reach.

One classification serves the check at submit, the resolver and the socket: an address that any of them
refuses is never dialed. The stdlib's ``is_global`` is not used, because its verdict changes with the patch
release and it calls multicast, NAT64 and IPv4-compatible addresses global.

A NAT64 prefix that an operator took from global unicast space looks like any public network; only a firewall
or an egress proxy keeps such a translator away from private IPv4 addresses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

SETTING: Final = "REPORTSIM_CALLBACK_ALLOW"
START_COMMAND: Final = "make run"
LONGEST: Final = 100

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "6to4": "a 6to4 address, which carries an IPv4 address (RFC 3056, RFC 7526)",
        "benchmark": "reserved for benchmarks (RFC 2544, RFC 5180)",
        "broadcast": "the limited broadcast address (RFC 919)",
        "cgnat": "shared address space of carrier-grade NAT (RFC 6598)",
        "discard": "the discard-only prefix (RFC 6666)",
        "documentation": "reserved for documentation (RFC 5737, RFC 3849, RFC 9637)",
        "ipv4-compatible": "an IPv6 spelling of an IPv4 address (RFC 4291)",
        "ipv4-mapped": "an IPv6 spelling of an IPv4 address (RFC 4291)",
        "ipv4-translated": "an IPv6 spelling of an IPv4 address (RFC 2765)",
        "link-local": "a link-local address, where cloud metadata services live (RFC 3927, RFC 4291)",
        "loopback": "a loopback address of this machine (RFC 1122, RFC 4291)",
        "metadata": "an address of a cloud provider's metadata service",
        "multicast": "a multicast address (RFC 5771, RFC 4291)",
        "nat64": "a NAT64 address, which carries an IPv4 address (RFC 6052)",
        "nat64-local": "a NAT64 address of a local prefix, which carries an IPv4 address (RFC 8215)",
        "not-an-address": "not an IP address",
        "not-global-unicast": "outside global unicast, 2000::/3 (RFC 4291)",
        "orchid": "an ORCHID, an identifier that is not routed (RFC 4843, RFC 7343)",
        "private": "a private address (RFC 1918, RFC 4193)",
        "protocol-assignments": "reserved for protocol assignments (RFC 6890, RFC 2928)",
        "reserved": "reserved for future use (RFC 1112)",
        "site-local": "a site-local address (RFC 3879)",
        "teredo": "a Teredo address, which carries an IPv4 address (RFC 4380)",
        "unspecified": "the unspecified network, which reaches this machine (RFC 1122, RFC 4291)",
        "zone-id": "an address with a zone id (RFC 4007)",
    }
)
"""Every code that `classify` returns, and what it says of an address."""

NEVER_OPENED: Final = frozenset(
    {
        "6to4",
        "broadcast",
        "ipv4-compatible",
        "ipv4-mapped",
        "ipv4-translated",
        "link-local",
        "metadata",
        "multicast",
        "nat64-local",
        "not-an-address",
        "teredo",
        "unspecified",
        "zone-id",
    }
)
"""Codes that no allow list opens: metadata services, and second spellings that could reach them."""

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")

# The first row that holds an address names it, so the smaller network stands above the larger.
_IPV4: Final = tuple(
    (IPv4Network(network), code)
    for network, code in (
        ("100.100.100.200/32", "metadata"),  # Alibaba Cloud
        ("168.63.129.16/32", "metadata"),  # Azure, although its block is public
        ("169.254.169.254/32", "metadata"),  # AWS, Azure, Google Cloud, Oracle, OpenStack and others
        ("169.254.170.2/32", "metadata"),  # AWS ECS credentials
        ("169.254.170.23/32", "metadata"),  # AWS EKS pod identity
        ("192.0.0.192/32", "metadata"),  # Oracle Cloud, classic
        ("255.255.255.255/32", "broadcast"),
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "cgnat"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol-assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmark"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_IPV6: Final = tuple(
    (IPv6Network(network), code)
    for network, code in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "ipv4-compatible"),
        ("::ffff:0:0/96", "ipv4-mapped"),
        ("::ffff:0:0:0/96", "ipv4-translated"),
        ("64:ff9b::/96", "nat64"),
        ("64:ff9b::/32", "nat64-local"),
        ("100::/64", "discard"),
        ("2001::/32", "teredo"),
        ("2001:2::/48", "benchmark"),
        ("2001:10::/28", "orchid"),
        ("2001:20::/28", "orchid"),
        ("2001::/23", "protocol-assignments"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fd00:42::42/128", "metadata"),  # Scaleway
        ("fd00:100::100:200/128", "metadata"),  # Alibaba Cloud
        ("fd00:a9fe:a9fe::1/128", "metadata"),  # Akamai, Linode
        ("fd00:c1::a9fe:a9fe/128", "metadata"),  # Oracle Cloud
        ("fd00:ec2::/32", "metadata"),  # AWS: instance metadata, EKS pod identity, DNS, time
        ("fd20:ce::254/128", "metadata"),  # Google Cloud
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_IPV4_ROWS: Final = tuple((int(network[0]), int(network.netmask), code) for network, code in _IPV4)
_IPV6_ROWS: Final = tuple((int(network[0]), int(network.netmask), code) for network, code in _IPV6)


def parse_address(address: str | Address) -> Address | None:
    """Reads a canonical literal, without brackets; None for anything else. Never raises."""
    if not isinstance(address, str):
        return address
    return _parse(address) if len(address) <= LONGEST else None


@lru_cache(1_024)
def _parse(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def classify(address: str | Address) -> str | None:
    """Says why an address may not be dialed, or None when it is public.

    The code is a key of `REASONS`. IPv4 is public unless listed; IPv6 is public only inside 2000::/3 and
    unless listed. Text must be a canonical literal: anything else is "not-an-address", and an address with a
    zone id is "zone-id". Never raises. Source: the IANA special-purpose address registries (RFC 6890).
    """
    parsed = parse_address(address)
    if parsed is None:
        return "not-an-address"
    if isinstance(parsed, IPv4Address):
        return _code_of(int(parsed), _IPV4_ROWS)
    if parsed.scope_id is not None:
        return "zone-id"
    code = _code_of(int(parsed), _IPV6_ROWS)
    return code if code or parsed in _GLOBAL_UNICAST else "not-global-unicast"


def _code_of(address: int, rows: Iterable[tuple[int, int, str]]) -> str | None:
    for start, mask, code in rows:
        if address & mask == start:
            return code
    return None


def explain(address: str | Address, reason: str, start_command: str = START_COMMAND) -> str:
    """Says in one sentence why an address was refused, and how to allow it where that is possible.

    `reason` is a key of `REASONS`; another one raises KeyError.
    """
    shown = str(address)[:64]
    fact = f"The address {shown} is {REASONS[reason]}"
    if reason in NEVER_OPENED:
        return f"{fact}; it is never called."
    return f"{fact}; to call it, list it or its network in {SETTING}: {SETTING}={shown} {start_command}."


@dataclass(frozen=True, slots=True)
class AllowList:
    """Networks that may be called although they are not public.

    A code in `NEVER_OPENED` stays refused whatever the networks say. An address in 64:ff9b::/96 (NAT64) needs
    both: its prefix is opened, and the IPv4 address that it carries may be called.
    """

    networks: tuple[Network, ...] = ()
    start_command: str = field(default=START_COMMAND, compare=False)
    """What starts the service anew, for hints that name a setting."""

    @classmethod
    def parse(cls, text: str) -> "AllowList":
        """Reads CIDRs separated by commas or blanks; a bare address stands for itself.

        Raises ValueError, naming the entry, for anything that is no network, has bits set to the right of its
        prefix, or lies wholly in a network that is never opened.
        """
        return cls(tuple(_network(entry) for entry in text.replace(",", " ").split()))

    def refusal(self, address: str | Address) -> str | None:
        """Says why an address may not be dialed under this list, a key of `REASONS`, or None when it may."""
        parsed = parse_address(address)
        reason = classify(address if parsed is None else parsed)
        if reason is None or reason in NEVER_OPENED or parsed is None:
            return reason
        if not any(parsed in network for network in self.networks):
            return reason
        if parsed in _NAT64:
            return self.refusal(IPv4Address(int(parsed) & 0xFFFF_FFFF))
        return None

    def permits(self, address: str | Address) -> bool:
        """Says whether an address may be dialed: it is public, or opened by this list."""
        return self.refusal(address) is None


def _network(entry: str) -> Network:
    _, slash, prefix = entry.partition("/")
    if "%" in entry or (slash and not (prefix.isascii() and prefix.isdigit())):
        raise ValueError(f"{entry!r} is not an address or a CIDR such as 10.0.0.0/8")
    network = ip_network(entry)
    rows: tuple[tuple[Network, str], ...] = _IPV4 if isinstance(network, IPv4Network) else _IPV6
    for row, code in rows:
        if network.network_address in row and network.broadcast_address in row:
            if code in NEVER_OPENED:
                raise ValueError(f"{entry!r} is {REASONS[code]}; it is never called")
            break
    return network
