"""Names of parameters in database addresses that need no work: settings of the server, the indifferent, the refused."""

import re
from collections.abc import Callable, Mapping
from typing import Final


class DatabaseURLError(ValueError):
    """What is wrong with an address, in one line that holds nothing secret."""


def plain(name: str) -> str:
    """A name without what drivers write differently: `ApplicationName` is `application_name`."""
    return re.sub(r"[-_ ]", "", name).lower()


# They say how another driver goes about what this one does anyway, or does not do at all.
INDIFFERENT: Final = frozenset(
    map(
        plain,
        (
            "sslsni", "sslcompression", "authtype", "tty", "uselibpqcompat", "max_protocol_version",
            "pool_min_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time", "pool_health_check_period",
            "pool_recycle", "pool_pre_ping", "max_overflow", "idle_timeout", "idleTimeoutMillis", "max_lifetime",
            "max_idle_connection_lifetime", "max_connection_lifetime", "reaping_frequency", "conn_max_age",
            "conn_health_checks", "advisory_locks", "async_fallback", "reWriteBatchedInserts", "stringtype",
            "binaryTransfer", "defaultRowFetchSize", "autosave", "assumeMinServerVersion",
            "preparedStatementCacheSizeMiB", "cleanupSavepoints", "logUnclosedConnections", "cancelSignalTimeout",
            "hostRecheckSeconds", "escapeSyntaxCallMode", "description_cache_capacity",
        ),
    )
)  # fmt: skip
SERVER_SETTINGS: Final[Mapping[str, str]] = {
    plain(name): name
    for name in (
        "search_path", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
        "idle_session_timeout", "transaction_timeout", "timezone", "datestyle", "intervalstyle",
        "standard_conforming_strings", "backslash_quote", "extra_float_digits", "bytea_output", "work_mem",
        "maintenance_work_mem", "temp_buffers", "temp_file_limit", "jit", "role", "row_security", "plan_cache_mode",
        "synchronous_commit", "client_min_messages",
        "log_statement", "log_min_duration_statement", "max_parallel_workers_per_gather", "random_page_cost",
        "effective_cache_size", "effective_io_concurrency", "tcp_keepalives_idle", "tcp_keepalives_interval",
        "tcp_keepalives_count", "application_name", "default_tablespace", "temp_tablespaces",
    )
}  # fmt: skip


def unless(*accepted: str, reason: str) -> Callable[[str], None]:
    """Refuses every value but some."""

    def check(value: str) -> None:
        if value.lower() not in accepted:
            raise DatabaseURLError(reason)

    return check


NO: Final = ("", "0", "false", "no", "off")
REFUSED: Final[Mapping[str, Callable[[str], None]]] = {
    "requireauth": unless("", reason="cannot be promised: the driver answers whichever way the server asks"),
    "requirepeer": unless("", reason="is not supported"),
    "clientencoding": unless("utf8", "utf-8", "unicode", "auto", "", reason="must be UTF8"),
    "encoding": unless("utf8", "utf-8", "unicode", "", reason="must be UTF8"),
    "replication": unless(*NO, reason="is not supported: the service is no replica"),
    "defaulttransactionisolation": unless("read committed", reason="must be read committed, which the service sets"),
    "defaulttransactionreadonly": unless(*NO, reason="is not supported: the service writes"),
    "readonly": unless(*NO, reason="is not supported: the service writes"),
    "gssencmode": unless("disable", "prefer", "", reason="must be disable or prefer: TLS alone encrypts"),
    "gssdelegation": unless(*NO, reason="is not supported"),
    "sslcertmode": unless("allow", "", reason="must be allow"),
    "minprotocolversion": unless("3.0", "", reason="must be 3.0"),
    "sslfactory": unless("", "org.postgresql.ssl.libpqfactory", reason="is not supported: use sslmode"),
    **{
        plain(name): unless("", reason="is not supported")
        for name in (
            "scram_client_key", "scram_server_key", "oauth_issuer", "oauth_client_id", "oauth_client_secret",
            "oauth_scope", "sslkeylogfile", "sslcrldir", "sslidentity", "sslinline", "sslpasswordcallback",
            "socketfactory", "authenticationpluginclassname", "jaasapplicationname", "prepared_statement_name_func",
        )
    },
}  # fmt: skip
