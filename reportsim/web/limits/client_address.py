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
TRUSTED: Final = web.AppKey("TRUSTED", tuple[Network, ...])


def client(request: web.Request) -> str:
    """Whoever asks, by address: the peer's, or what trusted proxies say.

    A proxy writes one of the two headers and passes the other one on as the client wrote it: where they disagree,
    neither is believed.
    """
    peer = request.remote or ""
    trusted = request.app[TRUSTED]
    if not trusted:
        return bucket_key(peer)
    standard = forwarded_for(request.headers.getall("Forwarded", []))
    customary = request.headers.getall("X-Forwarded-For", [])
    said = {client_of(peer, hops, trusted) for hops in (standard, customary) if hops}
    return bucket_key(said.pop() if len(said) == 1 else peer)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from their CIDRs."""
    return tuple(ip_network(text) for text in texts)


def client_of(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address: the peer, or what trusted proxies say, read from right to left.

    Reading stops at the first address that is no trusted proxy, and before anything that is no address.
    """
    client = peer
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    while hops and is_within(client, trusted):
        hop = bare(hops.pop())
        if hop is None:
            break
        client = hop
    return client


def forwarded_for(values: Sequence[str]) -> list[str]:
    """The `for` of each hop in Forwarded headers (RFC 7239); a hop without one, or an obfuscated one, is no address."""
    hops = [hop for value in values for hop in HOP.findall(value)]
    found = [FOR.search(hop) for hop in hops]
    return [match[1] if match else "unknown" for match in found]


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    # A socket for both families shows IPv4 clients as mapped addresses.
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


def bare(hop: str) -> str | None:
    """An address without port and brackets; None when it is none."""
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
def bucket_key(address: str) -> str:
    """The key of a client: an IPv4 address, or the /64 of an IPv6 address, since one user has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
