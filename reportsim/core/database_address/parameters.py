"""The parameters of a database address: each is obeyed, mapped, known to change nothing here, or refused by name."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from reportsim.core.database_address.parameter_names import (
    INDIFFERENT,
    REFUSED,
    SERVER_SETTINGS,
    DatabaseURLError,
    plain,
)

FLAGS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def parse_flag(text: str) -> bool:
    """A yes or no in any of the usual spellings."""
    try:
        return FLAGS[text.strip().lower()]
    except KeyError:
        raise DatabaseURLError("must be true or false") from None


def parse_count(text: str) -> int:
    """A whole number, zero or more."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise DatabaseURLError("must be a whole number")
    return int(text)


class Parameters:
    """What the parameters of one address come to."""

    def __init__(self, given: Iterable[tuple[str, str]]) -> None:
        """Takes them in order: the last of a name counts, except that hosts and ports add up."""
        self.identity: dict[str, str] = {}
        self.driver: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.sockets: dict[str, int] = {}
        self.target: str | None = None
        self.ssl: str | None = None
        self.random_order = False
        self.pooled = False
        self.channel_binding = False
        self.strict_certificates = False
        self.statement_cache: int | None = None
        self.connections: int | None = None
        self.connect_timeout: float | None = None
        self.acquire_timeout: float | None = None
        self.statement_timeout: float | None = None
        for name, value in given:
            self._take(name, value.strip())

    def _take(self, name: str, value: str) -> None:
        key = plain(name)
        try:
            if key in HANDLERS:
                HANDLERS[key](self, value)
            elif key in INDIFFERENT:
                pass
            elif key in SERVER_SETTINGS:
                self.settings[SERVER_SETTINGS[key]] = value
            elif key in REFUSED:
                REFUSED[key](value)
            else:
                raise DatabaseURLError("is not known to libpq, nor to a driver whose addresses are understood")
        except DatabaseURLError as error:
            raise DatabaseURLError(f"the parameter {printable(name)} {error}") from None


def printable(name: str) -> str:
    """A name as it can stand in one line of a log."""
    return name[:60].encode("unicode_escape").decode()


Handler = Callable[[Parameters, str], None]


def identity(name: str) -> Handler:
    """A part of the address itself."""

    def handle(found: Parameters, value: str) -> None:
        if name in {"host", "port"} and name in found.identity:
            value = f"{found.identity[name]},{value}"
        found.identity[name] = value

    return handle


def driver(name: str) -> Handler:
    """A parameter that the driver obeys."""

    def handle(found: Parameters, value: str) -> None:
        if value:
            found.driver[name] = value

    return handle


def setting(name: str) -> Handler:
    """A setting of the session under another name."""

    def handle(found: Parameters, value: str) -> None:
        if value:
            found.settings[name] = value

    return handle


def socket_option(name: str) -> Handler:
    """A number that the TCP connection obeys; some drivers write keepalives as a flag."""

    def handle(found: Parameters, value: str) -> None:
        found.sockets[name] = int(FLAGS[value.lower()]) if value.lower() in FLAGS else parse_count(value)

    return handle


def seconds(attribute: str, scale: float = 1.0) -> Handler:
    """A time limit; 0 leaves it to reportsim's own."""

    def handle(found: Parameters, value: str) -> None:
        setattr(found, attribute, parse_count(value) * scale or None)

    return handle


def take_application_name(found: Parameters, value: str) -> None:
    """A fallback does not replace a name that is given."""
    found.settings.setdefault("application_name", value)


def take_pooled(found: Parameters, value: str) -> None:
    """Says that a pooler is in between."""
    found.pooled = parse_flag(value)


def take_pooler_hint(found: Parameters, value: str) -> None:
    """A hint of which the presence says that a pooler is in between."""
    found.pooled = found.pooled or "pooler" in value


def take_statement_cache(found: Parameters, value: str) -> None:
    """No prepared statements are wanted where poolers are in between."""
    found.statement_cache = parse_count(value)
    found.pooled = found.pooled or found.statement_cache == 0


def take_prepares(found: Parameters, value: str) -> None:
    """Whether statements may be prepared."""
    found.pooled = found.pooled or not parse_flag(value)


def take_unprepared(found: Parameters, value: str) -> None:
    """Whether statements must not be prepared."""
    found.pooled = found.pooled or parse_flag(value)


def take_prepare_threshold(found: Parameters, value: str) -> None:
    """JDBC's and psycopg's number of uses before a statement is prepared; 0 or None: never."""
    found.pooled = found.pooled or value.lower() == "none" or parse_count(value.removeprefix("-")) == 0


def take_exec_mode(found: Parameters, value: str) -> None:
    """Go's pgx: every mode but its first does without prepared statements that are kept."""
    found.pooled = found.pooled or value != "cache_statement"


def take_connections(found: Parameters, value: str) -> None:
    """How many connections may be open."""
    found.connections = parse_count(value) or None


def take_ssl(found: Parameters, value: str) -> None:
    """TLS by other drivers: a flag, or a mode."""
    modes = {None: value, True: "require", False: "disable"}
    found.ssl = modes[FLAGS.get(value.lower())]


def take_ssl_accept(found: Parameters, value: str) -> None:
    """Prisma: whether a certificate is checked, where there is one."""
    if value not in {"strict", "accept_invalid_certs"}:
        raise DatabaseURLError("must be strict or accept_invalid_certs")
    found.strict_certificates = value == "strict"


def take_channel_binding(found: Parameters, value: str) -> None:
    """The driver has none; TLS is what is left to ask for."""
    if value not in {"disable", "prefer", "require"}:
        raise DatabaseURLError("must be disable, prefer or require")
    found.channel_binding = value == "require"


def take_order(found: Parameters, value: str) -> None:
    """The order in which several hosts are tried."""
    if value not in {"disable", "random"} and value.lower() not in FLAGS:
        raise DatabaseURLError("must be disable or random")
    found.random_order = value == "random" or FLAGS.get(value.lower(), False)


TARGETS: Final[Mapping[str, str]] = {
    "any": "any",
    "primary": "primary",
    "master": "primary",
    "readwrite": "read-write",
    "preferstandby": "any",
    "prefersecondary": "any",
    "preferslave": "any",
    "preferprimary": "any",
}


def take_target(found: Parameters, value: str) -> None:
    """Which of several servers is wanted."""
    if plain(value) not in TARGETS:
        raise DatabaseURLError("must name a server that can be written to: read-write, primary or any")
    found.target = TARGETS[plain(value)]


IDENTITY: Final = {
    "host": "host", "server": "host", "hostaddr": "hostaddr", "port": "port", "dbname": "dbname",
    "database": "dbname", "databasename": "dbname", "user": "user", "username": "user", "password": "password",
}  # fmt: skip
DRIVER: Final = (
    "passfile", "service", "servicefile", "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl",
    "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib",
)  # fmt: skip
SOCKETS: Final = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")

HANDLERS: Final[Mapping[str, Handler]] = {
    **{key: identity(name) for key, name in IDENTITY.items()},
    **{plain(name): driver(name) for name in DRIVER},
    **{plain(name): socket_option(name) for name in SOCKETS},
    "tcpkeepalive": socket_option("keepalives"),
    "keepalive": socket_option("keepalives"),
    "ssl": take_ssl,
    "sslrequire": take_ssl,
    "requiressl": take_ssl,
    "tls": take_ssl,
    "sslaccept": take_ssl_accept,
    "channelbinding": take_channel_binding,
    "applicationname": setting("application_name"),
    "fallbackapplicationname": take_application_name,
    "options": setting("options"),
    "schema": setting("search_path"),
    "currentschema": setting("search_path"),
    "schemasearchpath": setting("search_path"),
    "targetsessionattrs": take_target,
    "targetservertype": take_target,
    "loadbalancehosts": take_order,
    "pgbouncer": take_pooled,
    "supa": take_pooler_hint,
    "workaround": take_pooler_hint,
    "disableserversidecursors": take_unprepared,
    "binaryparameters": take_unprepared,
    "preparedstatements": take_prepares,
    "prepare": take_prepares,
    "preparethreshold": take_prepare_threshold,
    "defaultqueryexecmode": take_exec_mode,
    "preparedstatementcachesize": take_statement_cache,
    "preparedstatementcachequeries": take_statement_cache,
    "statementcachesize": take_statement_cache,
    "statementcachecapacity": take_statement_cache,
    "statementlimit": take_statement_cache,
    "connectionlimit": take_connections,
    "pool": take_connections,
    "poolsize": take_connections,
    "poolmaxconns": take_connections,
    "maxpoolsize": take_connections,
    "maximumpoolsize": take_connections,
    "max": take_connections,
    "connecttimeout": seconds("connect_timeout"),
    "logintimeout": seconds("connect_timeout"),
    "connectiontimeoutmillis": seconds("connect_timeout", 0.001),
    "pooltimeout": seconds("acquire_timeout"),
    "checkouttimeout": seconds("acquire_timeout"),
    "sockettimeout": seconds("statement_timeout"),
    "commandtimeout": seconds("statement_timeout"),
    "querytimeout": seconds("statement_timeout", 0.001),
}
