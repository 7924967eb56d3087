"""Connections to the database at an address: how they are opened, and how their statements are run.

The isolation level is READ COMMITTED whatever the database's own default is, conflicts of transactions are repeated,
and a pooler in between is found out. Poolers give every client numbers of their own for its process: a server that
says another one than it began with is not alone.
"""

import logging
import random
import re
import socket
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg

from reportsim.core.database_address.url import DatabaseURL, Host, parse_database_url
from reportsim.store.certificates import check_files, system_certificates
from reportsim.store.connection import DatabaseConnection
from reportsim.store.errors import DatabaseMisconfigured, DatabaseTimeout, DatabaseUnavailable, misconfiguration

log = logging.getLogger(__name__)

OLDEST_VERSION: Final = 15
STATEMENT_TIMEOUT_S: Final = 15.0
CONNECT_TIMEOUT_S: Final = 5.0

# Startup parameters that poolers keep per client.
PORTABLE: Final[Mapping[str, str]] = {
    "datestyle": "ISO, YMD",
    "standard_conforming_strings": "on",
    "timezone": "UTC",
}
# What the role or the database may have set otherwise; poolers refuse these, or ignore them.
DIRECT: Final[Mapping[str, str]] = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
}
# The same, except that the address may say otherwise.
LIMITS: Final[Mapping[str, str]] = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "extra_float_digits": "1",
}
OPTION: Final = re.compile(r"(?:-c\s*|--)([\w-]+)=")
SELECT_SESSION: Final = """
SELECT pg_backend_pid() AS pid, current_setting('transaction_isolation') AS isolation,
    current_setting('transaction_read_only') = 'on' AND NOT pg_is_in_recovery() AS read_only,
    current_setting('synchronous_commit') = 'off' AS is_lossy
"""
KEEP_PROMISES: Final = "SET synchronous_commit = on"
SOCKET_OPTIONS: Final[Mapping[str, tuple[int, int]]] = {
    "keepalives_idle": (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0)),
    "keepalives_interval": (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", 0)),
    "keepalives_count": (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", 0)),
    "tcp_user_timeout": (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", 0)),
}


class Connector:
    """Opens connections to one address, and remembers what it learnt about the way there."""

    def __init__(self, url: str, *, statement_cache: int = 0, session: Mapping[str, str] | None = None) -> None:
        """Reads the address; `session` are settings that connections have besides, where no pooler is in between.

        Raises:
            DatabaseURLError: it cannot be used.
        """
        self.address: DatabaseURL = parse_database_url(url)
        given = self.address.statement_cache
        self._session = session or {}
        self._statement_cache = statement_cache if given is None else min(given, statement_cache)
        self.pooled = self.address.pooled
        self.statement_timeout = self.address.statement_timeout or STATEMENT_TIMEOUT_S
        self._is_checked = False
        self._needs_tls = self.address.driver.get("sslmode") in {"require", "verify-ca", "verify-full"}

    def find_pooler(self) -> None:
        """Goes on without prepared statements and without session state."""
        if not self.pooled:
            self.pooled = True
            log.debug("a pooler is before the database: no statement is prepared (as with REPORTSIM_STATEMENT_CACHE=0)")

    async def connect(self) -> DatabaseConnection:
        """Opens a connection to the first server that is there and fits.

        Raises:
            DatabaseMisconfigured: no waiting mends what is wrong.
            DatabaseUnavailable: no server is there at the moment.
        """
        if not self._is_checked:
            check_files(self.address.driver)
            self._is_checked = True
        hosts = list(self.address.hosts)
        if self.address.random_order:
            random.shuffle(hosts)
        failures: list[DatabaseUnavailable] = []
        for host in hosts:
            try:
                return await self._connect_to(host)
            except DatabaseUnavailable as failure:
                failures.append(failure)
        # What is wrong with the address is wrong however long the other servers are waited for.
        mistakes = [failure for failure in failures if isinstance(failure, DatabaseMisconfigured)]
        if mistakes or len(failures) == 1:
            raise [*mistakes, *failures][0]
        raise DatabaseUnavailable("; ".join(map(str, failures)))

    async def _connect_to(self, host: Host) -> DatabaseConnection:
        pooled = self.pooled
        try:
            try:
                return await self._open(host, pooled=pooled)
            except (asyncpg.ProtocolViolationError, asyncpg.FeatureNotSupportedError) as error:
                if pooled:
                    raise DatabaseMisconfigured(refused_parameter(error)) from error
                self.find_pooler()
                return await self._open(host, pooled=True)
        except DatabaseUnavailable:
            raise
        except (asyncpg.ProtocolViolationError, asyncpg.FeatureNotSupportedError) as error:
            raise DatabaseMisconfigured(refused_parameter(error)) from error
        except TimeoutError as error:
            raise DatabaseTimeout(f"{host.name or 'the database'} did not answer in time") from error
        except KeyError as error:
            raise DatabaseMisconfigured("DATABASE_URL names no user, and this process has no name either") from error
        except (asyncpg.PostgresError, asyncpg.InternalClientError, ValueError, OSError) as error:
            if (mistake := connecting_mistake(error, needs_tls=self._needs_tls)) is not None:
                raise mistake from error
            raise DatabaseUnavailable(str(error) or type(error).__name__) from error

    async def _open(self, host: Host, *, pooled: bool) -> DatabaseConnection:
        """Opens a connection to one server, and looks at what session it is."""
        connection: DatabaseConnection = await asyncpg.connect(**self._arguments(host, pooled=pooled))
        try:
            connection.find_pooler, connection.pooled = self.find_pooler, pooled
            set_socket_options(connection, self.address.sockets)
            if connection.get_server_version().major < OLDEST_VERSION:
                raise DatabaseMisconfigured(f"DATABASE_URL: PostgreSQL {OLDEST_VERSION} or newer is needed")
            # Without a name: a statement with one would be left behind in a pooler's connection.
            statement = await connection.prepare(SELECT_SESSION, name="", timeout=CONNECT_TIMEOUT_S)
            session = await statement.fetchrow(timeout=CONNECT_TIMEOUT_S)
            assert session is not None
            if not pooled and session["pid"] != connection.get_server_pid():
                self.find_pooler()
                connection.terminate()
                return await self._open(host, pooled=True)
            if pooled:
                connection.begin = begin_statement(session)
            elif session["is_lossy"] and "synchronous_commit" not in self.address.settings:
                await connection.execute(KEEP_PROMISES, timeout=CONNECT_TIMEOUT_S)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _arguments(self, host: Host, *, pooled: bool) -> dict[str, Any]:
        address = self.address
        driver = dict(address.driver)
        service: dict[str, Any] = {name: driver.pop(name) for name in ("service", "servicefile") if name in driver}
        if driver.get("sslrootcert") == "system":
            driver["sslrootcert"] = system_certificates()
        return {
            "dsn": f"postgresql://?{urlencode(driver)}" if driver else None,
            "host": host.name,
            "port": host.port,
            "user": address.user,
            "password": address.password,
            "database": address.database,
            **service,
            "timeout": address.connect_timeout or CONNECT_TIMEOUT_S,
            "command_timeout": self.statement_timeout,
            "statement_cache_size": 0 if pooled else self._statement_cache,
            "server_settings": {**({} if pooled else self._session), **session_settings(address, pooled=pooled)},
            "target_session_attrs": address.target,
            "connection_class": DatabaseConnection,
        }


def session_settings(address: DatabaseURL, *, pooled: bool) -> dict[str, str]:
    """The startup parameters: the service's own first, so that a pooler refuses those before any of the address."""
    if pooled:
        return {**address.settings, **PORTABLE}
    chosen = {name.replace("-", "_").lower() for name in OPTION.findall(address.settings.get("options", ""))}
    limits = {name: value for name, value in LIMITS.items() if name not in chosen}
    settings = {**DIRECT, **limits, **address.settings, **DIRECT, **PORTABLE}
    if address.target == "read-write":
        # What the server says of itself is looked at.
        del settings["default_transaction_read_only"]
    return settings


def begin_statement(session: asyncpg.Record) -> str | None:
    """How transactions must begin in a session whose defaults cannot be set; None where they fit."""
    if session["isolation"] == "read committed" and not session["read_only"]:
        return None
    return f"BEGIN ISOLATION LEVEL READ COMMITTED{' READ WRITE' if session['read_only'] else ''}"


def set_socket_options(connection: DatabaseConnection, wanted: Mapping[str, int]) -> None:
    """Lets the kernel find out that a server is gone, as libpq does."""
    transport = connection._transport  # type: ignore[attr-defined]
    wire = transport.get_extra_info("socket")
    if wire is None or wire.family == socket.AF_UNIX or not wanted.get("keepalives", 1):
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, (level, option) in SOCKET_OPTIONS.items():
        if wanted.get(name) and option:
            wire.setsockopt(level, option, wanted[name])


def refused_parameter(error: Exception) -> str:
    """What to say when a server or pooler refuses a parameter of the address."""
    said = " ".join(str(error).split())
    hint = ": set it for the role instead (ALTER ROLE … SET search_path), or go around the pooler"
    return f"DATABASE_URL: {said}{hint if 'search_path' in said else ''}"


def connecting_mistake(error: BaseException, *, needs_tls: bool) -> DatabaseMisconfigured | None:
    """The mistake behind an error of connecting; None when waiting may mend it."""
    if "rejected SSL upgrade" in str(error) and needs_tls:
        return DatabaseMisconfigured("DATABASE_URL: sslmode asks for TLS, which the server does not offer")
    # What the driver refuses is a ValueError: a parameter, or a variable like PGPORT.
    if isinstance(error, ValueError | asyncpg.ObjectNotInPrerequisiteStateError):
        return DatabaseMisconfigured(f"DATABASE_URL: {' '.join(str(error).split())}")
    return misconfiguration(error)
