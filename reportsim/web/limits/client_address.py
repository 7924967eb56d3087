"""The client's address behind trusted proxies, and the key under which its requests are limited."""

import functools
import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from aiohttp import web

HOP: Final = re.compile(r'(?:"[^"]*"|[^",])+')
FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;,\s]*)', re.IGNORECASE)
Network = IPv4Network | IPv6Network
TRUSTED_PROXIES: Final = web.AppKey("TRUSTED", tuple[Network, ...])


def client_key(request: web.Request) -> str:
    """The key of the client of a request: the peer's address, or the one that trusted proxies report.

    A proxy sets one of the two headers and forwards the other one as the client sent it. If they disagree, the peer's
    address is used.
    """
    peer = request.remote or ""
    trusted = request.app[TRUSTED_PROXIES]
    if not trusted:
        return address_key(peer)
    standard = forwarded_for(request.headers.getall("Forwarded", []))
    de_facto = request.headers.getall("X-Forwarded-For", [])
    candidates = {resolve_client(peer, hops, trusted) for hops in (standard, de_facto) if hops}
    return address_key(candidates.pop() if len(candidates) == 1 else peer)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parses networks in CIDR notation."""
    return tuple(ip_network(text) for text in texts)


def resolve_client(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address: the peer, or the one that trusted proxies report.

    Hops are read from right to left, up to the first address that is not a trusted proxy, or up to anything that is
    not an address.
    """
    client = peer
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    while hops and is_within(client, trusted):
        hop = strip_port(hops.pop())
        if hop is None:
            break
        client = hop
    return client


def forwarded_for(values: Sequence[str]) -> list[str]:
    """The `for` parameter of each hop in Forwarded headers (RFC 7239); "unknown" for a hop without one."""
    hops = [hop for value in values for hop in HOP.findall(value)]
    matches = [FOR.search(hop) for hop in hops]
    return [match[1] if match else "unknown" for match in matches]


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    # A dual-stack socket reports IPv4 clients as mapped addresses.
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def strip_port(hop: str) -> str | None:
    """An address without port and brackets; None if it is not an address."""
    text = hop.strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None


@functools.lru_cache(10_000)
def address_key(address: str) -> str:
    """The key of an address: itself for IPv4, its /64 network for IPv6, since one client usually has a whole /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
