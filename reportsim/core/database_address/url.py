"""Database addresses in the forms that people copy: libpq's URIs and keywords, and those of hosts and other drivers."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from reportsim.core.database_address.parameter_names import DatabaseURLError
from reportsim.core.database_address.parameters import Parameters

SCHEMES: Final = frozenset({"postgresql", "postgres", "postgis", "psql", "pgsql"})
FOREIGN_SCHEMES: Final = frozenset({"prisma", "prisma+postgres", "mysql", "sqlite", "cockroachdb", "http", "https"})
PLACEHOLDER: Final = re.compile(r"\[YOUR[-_ ]?PASSWORD\]|<[^<>]*password[^<>]*>", re.IGNORECASE)
BAD_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
KEYWORD: Final = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?=\s|$)")
SEMICOLONS: Final = re.compile(r";\s*(?:user\w*|password|database|port|host|server)\s*=", re.IGNORECASE)
TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
PRIMARY: Final = frozenset({"primary", "read-write"})


@dataclass(frozen=True, slots=True)
class Host:
    """One server: a name, an address or a folder of sockets; None where libpq's defaults apply."""

    name: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseURL:
    """What a database address says; None and empty where it says nothing."""

    hosts: tuple[Host, ...] = (Host(),)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    driver: Mapping[str, str] = field(default_factory=dict)
    """Parameters that libpq has and the driver obeys, by libpq's names."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the session, for the server."""
    sockets: Mapping[str, int] = field(default_factory=dict)
    """Keepalives and time limits of the TCP connection, by libpq's names."""
    target: str | None = None
    random_order: bool = False
    pooled: bool = False
    """Whether the address says that a pooler is in between."""
    statement_cache: int | None = None
    connections: int | None = None
    connect_timeout: float | None = None
    acquire_timeout: float | None = None
    statement_timeout: float | None = None


def parse_database_url(text: str) -> DatabaseURL:
    """Reads an address; what stands around it in a copied line is taken off.

    Raises:
        DatabaseURLError: in one line, without the password, what is wrong with it.
    """
    text = strip_surroundings(text)
    scheme, separator, rest = text.partition("://")
    if not separator:
        if KEYWORD.match(text) and not SEMICOLONS.search(text):
            return from_parameters(Parameters(keywords(text)), "", "", "")
        raise DatabaseURLError("must start with postgresql://")
    scheme = scheme.removeprefix("jdbc:").lower()
    if scheme in FOREIGN_SCHEMES or scheme.split("+")[0] not in SCHEMES:
        raise DatabaseURLError("must start with postgresql://")
    address, _, query = rest.partition("?")
    authority, _, database = address.partition("/")
    if "@" not in authority and "@" in database + query and ":" in authority:
        raise DatabaseURLError("a / or ? in the user name or password must be written as %2F or %3F")
    login, _, servers = authority.rpartition("@")
    return from_parameters(Parameters(pairs(query)), login, servers, database)


def strip_surroundings(text: str) -> str:
    """Takes off white space, quotes, `psql` before and a variable's name before."""
    text = text.strip()
    for prefix in ("psql ", "DATABASE_URL="):
        text = text.removeprefix(prefix).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    if not text.isprintable():
        raise DatabaseURLError("holds a line break or another character that cannot be printed")
    return text


def pairs(query: str) -> Iterator[tuple[str, str]]:
    """The parameters of a URI; a plus sign is itself, as for libpq."""
    for part in query.split("&"):
        name, separator, value = part.partition("=")
        if not part:
            continue
        if not separator:
            raise DatabaseURLError(f"the parameter {decode(name)} has no value")
        yield decode(name), decode(value)


def keywords(text: str) -> Iterator[tuple[str, str]]:
    """The parameters of libpq's other form: `host=… dbname='…'`."""
    at = 0
    while at < len(text):
        match = KEYWORD.match(text, at)
        if match is None:
            raise DatabaseURLError("must start with postgresql://, or be a list of name=value")
        value = match[2][1:-1] if match[2].startswith("'") else match[2]
        yield match[1], re.sub(r"\\(.)", r"\1", value)
        at = match.end()


def decode(text: str) -> str:
    """Percent-decodes a part of a URI."""
    if BAD_ESCAPE.search(text):
        raise DatabaseURLError("a % that begins no escape must be written as %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise DatabaseURLError("percent-escapes must be UTF-8") from None


def from_parameters(found: Parameters, login: str, servers: str, database: str) -> DatabaseURL:
    """Puts together what stands before the parameters with what they say, which comes first."""
    user, _, password = login.partition(":")
    password = found.identity.get("password") or decode(password)
    if PLACEHOLDER.search(password):
        raise DatabaseURLError("the password is still the placeholder that was to be replaced")
    hosts = choose_hosts(found, servers)
    return DatabaseURL(
        hosts=hosts,
        user=found.identity.get("user") or decode(user) or None,
        password=password or None,
        database=found.identity.get("dbname") or decode(database.removesuffix("/")) or None,
        driver=choose_tls(found),
        settings=found.settings,
        sockets=found.sockets,
        target=choose_target(found.target, len(hosts)),
        random_order=found.random_order,
        pooled=found.pooled,
        statement_cache=0 if found.pooled else found.statement_cache,
        connections=found.connections,
        connect_timeout=found.connect_timeout,
        acquire_timeout=found.acquire_timeout,
        statement_timeout=found.statement_timeout,
    )


def choose_hosts(found: Parameters, servers: str) -> tuple[Host, ...]:
    """The servers in their order: those of the parameters where there are any."""
    listed = [split_host(decode(server)) for server in servers.split(",")]
    names = found.identity.get("host")
    if names:
        listed = [split_host(name) for name in names.split(",")]
    if addresses := found.identity.get("hostaddr"):
        if found.driver.get("sslmode") == "verify-full" and any(host.name for host in listed):
            raise DatabaseURLError("hostaddr together with a host and sslmode=verify-full is not supported")
        ports = [host.port for host in listed]
        bare = [Host(address.strip()) for address in addresses.split(",")]
        listed = [Host(host.name, port) for host, port in zip(bare, ports * len(bare), strict=False)]
    if given := found.identity.get("port"):
        ports = [parse_port(port) for port in given.split(",")]
        if len(ports) not in {1, len(listed)}:
            raise DatabaseURLError(f"there are {len(ports)} ports for {len(listed)} hosts")
        ports = ports * len(listed) if len(ports) == 1 else ports
        listed = [Host(host.name, port or host.port) for host, port in zip(listed, ports, strict=True)]
    return tuple(listed)


def split_host(text: str) -> Host:
    """One server of a list: a folder of sockets, an IPv6 address in brackets, or a name, each with a port or not."""
    text = text.strip()
    if text.startswith("/"):
        folder, _, port = text.rpartition(":")
        return Host(folder, int(port)) if folder and port.isdecimal() else Host(text)
    if text.startswith("@"):
        raise DatabaseURLError("sockets without a file are not supported")
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise DatabaseURLError("an IPv6 address must stand in brackets: [::1]:5432")
        return Host(name, parse_port(rest[1:]))
    if text.count(":") > 1:
        raise DatabaseURLError("an IPv6 address must stand in brackets: [::1]:5432")
    name, _, port = text.partition(":")
    return Host(name or None, parse_port(port))


def parse_port(text: str) -> int | None:
    """A port; None where none is given."""
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65_535):
        raise DatabaseURLError("a port must be a number from 1 to 65535 (special characters in a password: as %40)")
    return int(text)


def choose_tls(found: Parameters) -> dict[str, str]:
    """The driver's parameters, with the mode of TLS that all of them together ask for."""
    driver = dict(found.driver)
    mode = driver.get("sslmode") or found.ssl
    if found.strict_certificates and mode == "require":
        mode = "verify-full"
        driver.setdefault("sslrootcert", "system")
    if found.channel_binding:
        if mode == "disable":
            raise DatabaseURLError("channel_binding=require needs TLS, which sslmode=disable forbids")
        mode = mode if mode in TLS_MODES[3:] else "require"
    if driver.get("sslrootcert") == "system":
        mode = mode or "verify-full"
        if mode != "verify-full":
            raise DatabaseURLError("sslrootcert=system goes with sslmode=verify-full alone")
    if mode == "no-verify":
        raise DatabaseURLError("sslmode=no-verify is not known; sslmode=require encrypts without checking whom to")
    if mode is not None:
        if mode not in TLS_MODES:
            raise DatabaseURLError(f"sslmode must be one of {', '.join(TLS_MODES)}")
        driver["sslmode"] = mode
    return driver


def choose_target(target: str | None, hosts: int) -> str | None:
    """Which server of several is meant: one that can be written to, whatever else is preferred."""
    if target in PRIMARY:
        return target
    return "primary" if hosts > 1 else None


def check_database_url(text: str) -> str:
    """An address that can be read, as it was given."""
    parse_database_url(text)
    return text
