"""Settings: one frozen dataclass, read from the environment once."""

import ipaddress
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from yarl import URL

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.database_address.url import check_database_url
from reportsim.core.signing import parse_secret

PREFIX = "REPORTSIM_"
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off", ""})


class SettingsError(ValueError):
    """The environment cannot be used; the message lists every mistake."""


def whole(low: int, high: int) -> Callable[[str], int]:
    """A parser for a whole number within bounds."""

    def parse(text: str) -> int:
        value = int(text) if text.isascii() else None
        if value is None or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A parser for a number of seconds within bounds."""

    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    return parse


def flag(text: str) -> bool:
    """A parser for yes or no."""
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ValueError("must be 1 or 0")


def waits(text: str) -> tuple[float, ...]:
    """A parser for the list of waits between callback attempts, in seconds."""
    values = tuple(float(part) for part in text.split(",")) if text.strip() else ()
    if not all(0 <= value <= 86_400 for value in values):
        raise ValueError("must be seconds from 0 to 86400, separated by commas")
    return values


def user_path(text: str) -> Path:
    """A parser for a path, in which a leading ~ is the user's home folder."""
    expanded = os.path.expanduser(text)
    if expanded == "~" or expanded.startswith("~/"):
        raise ValueError("there is no home folder: write the whole path")
    return Path(expanded)


def words(text: str) -> tuple[str, ...]:
    """A parser for a list separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def secrets(text: str) -> tuple[str, ...]:
    """A parser for a list of signing secrets."""
    for word in words(text):
        parse_secret(word)
    return words(text)


def networks(text: str) -> tuple[str, ...]:
    """A parser for a list of CIDRs."""
    for word in words(text):
        ipaddress.ip_network(word)
    return words(text)


def origin(text: str) -> str:
    """A parser for an http(s) origin."""
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.host or url.path not in {"", "/"} or url.user:
        raise ValueError("must be like https://reports.example.org")
    return str(url.origin())


def setting(env: str, parse: Callable[[str], Any], default: Any, about: str, *, secret: bool = False) -> Any:
    """One setting: its variable, its parser, its default and its line in docs/settings.md."""
    return field(default=default, repr=not secret, metadata={"env": env, "parse": parse, "about": about})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set; `from_environment` is the way to make one."""

    database_url: str | None = setting(
        "DATABASE_URL", check_database_url, None, "PostgreSQL 15 or newer; none: the embedded PostgreSQL", secret=True
    )
    debug: bool = setting("DEBUG", flag, False, "log level DEBUG in plain text, templates reloaded")
    host: str = setting("REPORTSIM_HOST", str, "127.0.0.1", "address to listen on")
    port: int = setting("REPORTSIM_PORT", whole(0, 65_535), 8080, "port to listen on; 0 takes a free one")
    data_dir: Path = setting(
        "REPORTSIM_DATA_DIR", user_path, Path("data"), "folder of the report files and of the embedded PostgreSQL"
    )
    workers: int = setting(
        "REPORTSIM_WORKERS",
        whole(1, 256),
        max(4, os.cpu_count() or 1),
        "worker slots, shared by sync and async",
    )
    lease_s: float = setting(
        "REPORTSIM_LEASE_S",
        seconds(0.2, 3600),
        30.0,
        "seconds until the work of a dead replica is taken over",
    )
    sync_timeout: float = setting(
        "REPORTSIM_SYNC_TIMEOUT", seconds(0.05, 3600), 30.0, "seconds a sync request waits for a slot"
    )
    sync_rate: int = setting(
        "REPORTSIM_SYNC_RATE", whole(0, 1_000_000), 30, "sync requests per minute and client; 0: no limit"
    )
    async_rate: int = setting(
        "REPORTSIM_ASYNC_RATE", whole(0, 1_000_000), 60, "async requests per minute and client; 0: no limit"
    )
    sync_max: int = setting(
        "REPORTSIM_SYNC_MAX", whole(1, 1_000_000), 2_000, "sync requests that may wait at once; one more gets 503"
    )
    client_waiting: int = setting(
        "REPORTSIM_CLIENT_WAITING",
        whole(1, 1_000_000),
        2_000,
        "requests that a client may have waiting for a slot; one more gets 503",
    )
    client_planned_s: float = setting(
        "REPORTSIM_CLIENT_PLANNED_S",
        seconds(60, 1_000_000_000),
        600.0,
        "seconds for which a client's waiting requests may plan to hold slots (`simulate`), in all",
    )
    simulate: bool = setting(
        "REPORTSIM_SIMULATE",
        flag,
        True,
        "whether requests may ask for `simulate`; 0 refuses it, except in benchmark runs",
    )
    streams_per_client: int = setting(
        "REPORTSIM_STREAMS_PER_CLIENT", whole(1, 1_000_000), 100, "event streams that a client may have open"
    )
    connections_max: int = setting(
        "REPORTSIM_CONNECTIONS_MAX",
        whole(1, 1_000_000),
        10_000,
        "open connections, as far as the process may have files; one more gets 503",
    )
    callback_waits: tuple[float, ...] = setting(
        "REPORTSIM_CALLBACK_WAITS",
        waits,
        (2.0, 4.0, 8.0),
        "seconds to wait after failed attempt 1, 2, 3, …; the last one repeats",
    )
    callback_jitter: float = setting(
        "REPORTSIM_CALLBACK_JITTER", seconds(0, 1), 0.0, "share of each wait by which it varies at random, 0 to 1"
    )
    callback_attempts: int = setting(
        "REPORTSIM_CALLBACK_ATTEMPTS", whole(1, 100), 3, "attempts per series of callbacks"
    )
    callback_timeout: float = setting(
        "REPORTSIM_CALLBACK_TIMEOUT", seconds(0.1, 300), 10.0, "seconds in all per callback attempt"
    )
    callback_rate: float = setting(
        "REPORTSIM_CALLBACK_RATE",
        seconds(0, 100_000),
        100.0,
        "callbacks a second to each destination, twice as many at once; 0: no limit",
    )
    callback_allow: AllowList = setting(
        "REPORTSIM_CALLBACK_ALLOW",
        AllowList.parse,
        AllowList(),
        "CIDRs that may be called although private; never metadata addresses",
    )
    webhook_secret: tuple[str, ...] = setting(
        "REPORTSIM_WEBHOOK_SECRET",
        secrets,
        (),
        "`whsec_…`, several separated by commas; none: made once and kept in the database",
        secret=True,
    )
    trusted_proxies: tuple[str, ...] = setting(
        "REPORTSIM_TRUSTED_PROXIES",
        networks,
        (),
        "CIDRs of proxies whose X-Forwarded-For or Forwarded is believed",
    )
    public_url: str | None = setting(
        "REPORTSIM_PUBLIC_URL", origin, None, "origin in absolute links; none: the listening address"
    )
    allowed_hosts: tuple[str, ...] = setting(
        "REPORTSIM_ALLOWED_HOSTS",
        words,
        (),
        "names served besides loopback ones and its own address; none: addresses and the public URL's host",
    )
    retention_hours: int = setting(
        "REPORTSIM_RETENTION_HOURS", whole(24, 1_000_000), 168, "hours that an ended request is kept"
    )
    reports_max_mb: int = setting(
        "REPORTSIM_REPORTS_MAX_MB",
        whole(1, 10_000_000),
        2048,
        "report files kept on disk, in MB; the oldest go first",
    )
    csv_guard: bool = setting(
        "REPORTSIM_CSV_GUARD",
        flag,
        True,
        "a ' before what a spreadsheet would run as a formula, at the start of a text cell or after a separator in it",
    )
    demo_lines: int = setting(
        "REPORTSIM_DEMO_LINES",
        whole(4, 20_000_000),
        100_000,
        "lines of the demo ledger made at the first start",
    )
    pool_size: int | None = setting(
        "REPORTSIM_POOL_SIZE",
        whole(1, 10_000),
        None,
        "connections to the database, at most, but six; none: what the address says, or 64",
    )
    statement_cache: int = setting(
        "REPORTSIM_STATEMENT_CACHE",
        whole(0, 10_000),
        100,
        "prepared statements kept per connection; always 0 where a pooler is found",
    )
    shutdown_grace_s: float = setting(
        "REPORTSIM_SHUTDOWN_GRACE_S", seconds(0, 3600), 10.0, "seconds that running work gets to end on shutdown"
    )

    @property
    def start_command(self) -> str:
        """The command that starts a service at the same host and port."""
        default = Settings()
        port = [f"PORT={self.port}"] if self.port != default.port else []
        host = [f"REPORTSIM_HOST={self.host}"] if self.host != default.host else []
        return shlex.join(["make", "run", *port, *host])

    @property
    def callback_policy(self) -> AllowList:
        """What may be called although private, with the command that hints name."""
        return replace(self.callback_allow, start_command=self.start_command)

    @property
    def reports_dir(self) -> Path:
        """Where the CSV files are kept."""
        return self.data_dir / "reports"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Reads and checks everything at once.

        Raises:
            SettingsError: with one line per mistake, misspelt `REPORTSIM_…` names included.
        """
        values: dict[str, Any] = {}
        mistakes: list[str] = []
        known = {item.metadata["env"]: item for item in fields(cls)}
        for env, item in known.items():
            text = environ.get(env)
            if text is None or (text == "" and item.default in (None, (), AllowList())):
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                mistakes.append(f"{env}={text!r}: {error}" if item.repr else f"{env}: {error}")
        unknown = {name for name in environ if name.startswith(PREFIX)} - known.keys() - {"REPORTSIM_TEST_DATABASE_URL"}
        mistakes += [f"{name}: there is no such setting" for name in sorted(unknown)]
        settings = cls(**values)
        if not settings.callback_waits and settings.callback_attempts > 1:
            mistakes.append("REPORTSIM_CALLBACK_WAITS='': may be empty only where REPORTSIM_CALLBACK_ATTEMPTS is 1")
        if mistakes:
            raise SettingsError("\n".join(mistakes))
        return settings
