"""Which URLs a callback may go to: shape, literal address and port, checked at submit without a network.

What a DNS name resolves to is checked when it is dialed, with `callback_targets.check_dial`.
"""

import re
import unicodedata
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import quote

from yarl import URL

from reportsim.core.callback_policy.addresses import SETTING, Address, AllowList, explain, parse_address
from reportsim.core.callback_policy.targets import (
    REFUSED_PORTS,
    CallbackTarget,
    OwnReceiver,
    Refusal,
    check_dial,
    own_route,
)

__all__ = [
    "LONGEST",
    "REFUSED_PORTS",
    "CallbackTarget",
    "OwnReceiver",
    "Refusal",
    "check_dial",
    "check_url",
    "leads_under",
    "resource_of",
]

LONGEST: Final = 2048
LOCALHOST: Final = "localhost"

_SCHEME = re.compile("(https?)://", re.ASCII | re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]+)(?::(?P<port>[^:]*))?")
_PORT = re.compile("[1-9][0-9]{0,4}")
_NUMBER = re.compile("[0-9]+|0x[0-9a-f]*")
_LABEL = re.compile("[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_UNTIDY = re.compile(r"//|%(?:00|25|2e|2f|5c)|/\.{1,2}(?:/|$)", re.IGNORECASE)
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_INVISIBLE_ASCII = re.compile(r"[\x00-\x20\x7f]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")


class _RefusedError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        self.refusal = Refusal(reason, detail)


def check_url(url: str, allow: AllowList, own: Sequence[OwnReceiver] = ()) -> CallbackTarget | Refusal:
    """Decides at submit whether a callback URL may be used at all; never raises for any text.

    Allowed are http and https at ports 80, 443 and from 1024 on except `REFUSED_PORTS`, to a DNS name or to a
    literal address that is public or opened by `allow`. An opened address does not open a port. A name of a
    single label passes only when `allow` opens something: its address is checked when it is dialed. A
    receiver in `own` is allowed at its exact scheme, address and port, for tidy paths under its prefix; every
    other route of the same origin is refused whatever `allow` says.

    Host names are those of RFC 1123 with underscores, and IDNs. Path and query go out as they were typed: only a
    fragment is dropped, and characters beyond ASCII are percent-encoded, as a request line demands.
    """
    try:
        return _target(url, allow, own)
    except _RefusedError as refused:
        return refused.refusal


def _target(text: str, allow: AllowList, own: Sequence[OwnReceiver]) -> CallbackTarget:
    _check_text(text)
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise _RefusedError("scheme", "A callback URL starts with http:// or https://.")
    authority = re.split("[/?#]", text[scheme.end() :], maxsplit=1)[0]
    host, port = _host_and_port(authority, 443 if scheme[1].lower() == "https" else 80)
    bracketed = host.startswith("[")
    address = parse_address(host[1:-1] if bracketed else host)
    if isinstance(address, IPv6Address) != bracketed:
        raise _RefusedError("bad-host", f"{_shown(host)} is not an IPv6 address.")
    resource = resource_of(text)
    protocol = scheme[1].lower()
    dialed = _ascii_host(f"{protocol}://{authority}/", host)
    name = str(address)
    if address is None:
        name = _dns_name(host, dialed, allow, own)
        address = _loopback(allow) if name == LOCALHOST else None
    elif parse_address(dialed) != address:
        raise _RefusedError("folded-host", f"{_shown(host)} would be called as {_shown(dialed)}.")
    if address is None:
        _check_port(port)
        return CallbackTarget(protocol, name, port, resource)
    receivers = [receiver for receiver in own if receiver.listens_at(address, port)]
    if receivers:
        return _own_target(CallbackTarget(protocol, str(address), port, resource, address, own=True), receivers)
    reason = allow.refusal(address)
    if reason:
        raise _RefusedError(reason, explain(address, reason, allow.start_command))
    _check_port(port)
    return CallbackTarget(protocol, name, port, resource, address)


def _loopback(allow: AllowList) -> Address | None:
    """The loopback address that `localhost` stands for (RFC 6761); None where the list has none."""
    return next((address for address in map(ip_address, ("127.0.0.1", "::1")) if allow.permits(address)), None)


def _check_text(text: str) -> None:
    if len(text) > LONGEST:
        raise _RefusedError("too-long", f"A callback URL has at most {LONGEST:,} characters.")
    if _has_invisible(text):
        raise _RefusedError(
            "forbidden-character",
            "A callback URL has no blanks, control or invisible characters; percent-encode them.",
        )
    if "\\" in text:
        raise _RefusedError("backslash", "A callback URL has no backslash; percent-encode it as %5C.")


def _has_invisible(text: str) -> bool:
    """Whether a text has blanks, control, format or surrogate characters."""
    if text.isascii():
        return _INVISIBLE_ASCII.search(text) is not None
    return any(unicodedata.category(character) in _INVISIBLE for character in text)


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    if "@" in authority:
        raise _RefusedError("userinfo", "A callback URL has no user name or password; put a token into its path.")
    if "%" in authority:
        reason = "zone-id" if authority.startswith("[") else "percent-in-host"
        raise _RefusedError(reason, "The host of a callback URL has no percent sign, and an address no zone id.")
    if not authority.partition(":")[0] and authority.count(":") <= 1:
        raise _RefusedError("empty-host", "A callback URL needs a host.")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise _RefusedError("bad-host", "A host is a name, an IPv4 address or an IPv6 address in square brackets.")
    port = match["port"]
    if port is None:
        return match["host"], default
    if not _PORT.fullmatch(port) or int(port) > 65_535:
        raise _RefusedError("bad-port", "A port is a number from 1 to 65535 without leading zeros.")
    return match["host"], int(port)


def _check_port(port: int) -> None:
    if port not in (80, 443) and (port < 1024 or port in REFUSED_PORTS):
        raise _RefusedError(
            "port-refused",
            f"Port {port} is not called; allowed are 80, 443, and from 1024 on those of no other service.",
        )


def resource_of(url: str) -> str:
    """What of a URL goes into the request line: path and query byte for byte, beyond ASCII percent-encoded."""
    _, _, rest = url.partition("://")
    parts = re.split("([/?#].*)", rest, maxsplit=1, flags=re.DOTALL)
    typed = parts[1].partition("#")[0] if len(parts) > 1 else ""
    resource = typed if typed.startswith("/") else f"/{typed}"
    return _BEYOND_ASCII.sub(lambda match: quote(match[0], safe=""), resource)


def _ascii_host(origin: str, host: str) -> str:
    try:
        url = URL(origin)
        ascii_host = url.raw_host or ""
        if "xn--" in ascii_host.lower():
            _ = url.host  # raises unless it can be decoded
    except ValueError:
        raise _RefusedError("bad-host", f"{_shown(host)} is not a valid host name.") from None
    return ascii_host


def _dns_name(host: str, dialed: str, allow: AllowList, own: Sequence[OwnReceiver]) -> str:
    typed = host.removesuffix(".").split(".")
    name = dialed.removesuffix(".").lower()
    labels = name.split(".")
    # An IDN label becomes xn--…; any other change means that Unicode folding made it a different host.
    same = (
        new == old.lower() if old.isascii() else new.startswith("xn--") for old, new in zip(typed, labels, strict=False)
    )
    if len(typed) != len(labels) or not all(same):
        raise _RefusedError("folded-host", f"{_shown(host)} would be called as {_shown(dialed)}; write that.")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _RefusedError("bad-host", f"{_shown(host)} is not a valid host name.")
    if _NUMBER.fullmatch(labels[-1]):
        raise _RefusedError(
            "numeric-host",
            f"{_shown(host)} is a number; write an IPv4 address as four decimals, without a final dot.",
        )
    if labels[-1] == LOCALHOST and not (name == LOCALHOST and _loopback(allow)):
        hint = f", or {own[0]}… for the service's own receiver" if own else ""
        raise _RefusedError(
            "localhost",
            f"{_shown(host)} is this machine; to call it, start the service with "
            f"{SETTING}=127.0.0.0/8 {allow.start_command}{hint}.",
        )
    if len(labels) == 1 and name != LOCALHOST and not allow.networks:
        raise _RefusedError(
            "single-label",
            f"{_shown(host)} is a local name; write a full name, or list its network in {SETTING}.",
        )
    return name


def _own_target(target: CallbackTarget, receivers: Sequence[OwnReceiver]) -> CallbackTarget:
    for receiver in receivers:
        exact = target.scheme == receiver.scheme and target.address == receiver.address
        if exact and leads_under(target, receiver.path_prefix):
            return target
    raise _RefusedError("own-route", own_route(receivers))


def leads_under(target: CallbackTarget, prefix: str) -> bool:
    """Says whether a target's path leads, however a server may read it, under a prefix."""
    return target.path.startswith(prefix) and not _UNTIDY.search(target.path)


def _shown(host: str) -> str:
    return repr(host if len(host) <= 64 else host[:63] + "…")
