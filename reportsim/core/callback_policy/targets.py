"""Where a callback may be dialed: targets, ports, our own receivers, and the check at the socket."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reportsim.core.callback_policy.addresses import Address, AllowList, classify, explain, parse_address

REFUSED_PORTS: Final = frozenset(
    {
        *(1080, 1723, 3128),  # SOCKS, PPTP, Squid
        *(1099, 4369, 7199, 8009),  # Java RMI, Erlang epmd, Cassandra JMX, AJP
        *(1433, 1434, 1521, 2483, 2484),  # SQL Server, Oracle
        *(3306, 33060, 5432, 6432, 26257),  # MySQL, PostgreSQL, PgBouncer, CockroachDB
        *(3050, 50000, 8086, 8529, 28015),  # Firebird, DB2, InfluxDB, ArangoDB, RethinkDB
        *(5984, 6984, 7474, 7687, 9042, 9160),  # CouchDB, Neo4j, Cassandra
        *(27017, 27018, 27019, 28017),  # MongoDB
        *(6379, 6380, 16379, 26379, 11211),  # Redis, memcached
        *(1883, 8883, 4150, 4151, 4222, 6222, 8222),  # MQTT, NSQ, NATS
        *(5671, 5672, 15672, 25672, 61613, 61616),  # RabbitMQ, ActiveMQ
        *(6650, 9092, 9093, 9094, 2181, 2888, 3888),  # Pulsar, Kafka, ZooKeeper
        *(5601, 8983, 9200, 9300),  # Kibana, Solr, Elasticsearch
        *(2375, 2376, 2377, 4243),  # Docker
        *(2379, 2380, 6443, 10250, 10255, 10257, 10259),  # etcd, Kubernetes
        *(4646, 4647, 4648, 8200, 8300, 8301, 8302, 8500, 8501),  # Nomad, Vault, Consul
        *(6066, 7077, 8020, 8088, 8265, 9870, 50070, 50075),  # Spark, Hadoop, Ray
        *(2049, 3260, 3690, 9418),  # NFS, iSCSI, Subversion, git
        *(3389, 5900, 5901, 5902, 5903, 5985, 5986),  # RDP, VNC, WinRM
        *range(6000, 6064),  # X11
        *(2525, 3268, 3269, 4190),  # mail submission, LDAP global catalogue, ManageSieve
        *(1719, 1720, 5060, 5061, 5222, 5269),  # H.323, SIP, XMPP
        *(3659, 4045, 6566, 6679, 6697, 10080, *range(6665, 6670)),  # more of Fetch's "bad ports": IRC, …
    }
)
"""Ports from 1024 on that belong to databases, brokers, consoles and the like, never to a receiver."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a callback is not made: a stable code in kebab case, and one sentence for people.

    `reason` is a key of `addresses.REASONS`, or one of: backslash, bad-host, bad-port, empty-host,
    folded-host, forbidden-character, localhost, not-the-target, numeric-host, own-route, percent-in-host,
    port-refused, scheme, single-label, too-long, userinfo.
    """

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class OwnReceiver:
    """A receiver of this service itself: an exact origin, and the paths of it that may be called.

    `path_prefix` starts and ends with a slash, else ValueError.
    """

    address: Address
    port: int
    path_prefix: str
    scheme: str = "http"

    def __post_init__(self) -> None:
        """Refuses a prefix that would cover a sibling path."""
        if not (self.path_prefix.startswith("/") and self.path_prefix.endswith("/")):
            raise ValueError("path_prefix must start and end with a slash")

    def __str__(self) -> str:
        """The URL that everything under the prefix starts with."""
        return f"{self.scheme}://{_bracketed(str(self.address))}:{self.port}{self.path_prefix}"

    def listens_at(self, address: Address, port: int) -> bool:
        """Says whether the service may answer there: the same port at its or at any loopback address."""
        if port != self.port:
            return False
        return address == self.address or classify(address) == "loopback" == classify(self.address)


@dataclass(frozen=True)
class CallbackTarget:
    """Where a callback goes, as far as it is known without a network.

    `host` is in ASCII and lower case, without brackets and trailing dot; `resource` is path and query as they go
    into the request line; `address` is the host when it is a literal; `own` says that it is a receiver of this
    service.
    """

    scheme: str
    host: str
    port: int
    resource: str
    address: Address | None = None
    own: bool = False

    @functools.cached_property
    def origin(self) -> str:
        """Scheme, host and port: the key of a limit per destination."""
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"

    @functools.cached_property
    def netloc(self) -> str:
        """Host and port as the Host header names them: without the port that the scheme implies."""
        implied = {"http": 80, "https": 443}.get(self.scheme)
        return _bracketed(self.host) if self.port == implied else f"{_bracketed(self.host)}:{self.port}"

    @property
    def path(self) -> str:
        """The resource without its query."""
        return self.resource.partition("?")[0]


def check_dial(
    address: str | Address,
    port: int,
    target: CallbackTarget,
    allow: AllowList,
    own: Sequence[OwnReceiver] = (),
) -> Refusal | None:
    """Decides, when a socket is about to be made, whether `target` may be reached there; None means yes.

    For every address that a resolver returned, of which a single refused one refuses the attempt, and again
    for the one that is dialed.
    """
    parsed = parse_address(address)
    reason = allow.refusal(address if parsed is None else parsed)
    if parsed is None or reason == "zone-id":
        return Refusal(reason or "not-an-address", explain(address, reason or "not-an-address", allow.start_command))
    if port != target.port or (target.address is not None and parsed != target.address):
        return Refusal("not-the-target", f"{parsed} port {port} is not where {target.origin} leads.")
    if target.own and any(receiver.port == port and receiver.address == parsed for receiver in own):
        return None
    if any(receiver.listens_at(parsed, port) for receiver in own):
        return Refusal("own-route", own_route(own))
    return Refusal(reason, explain(parsed, reason, allow.start_command)) if reason else None


def own_route(own: Sequence[OwnReceiver]) -> str:
    """The sentence that refuses any other route of this service."""
    receivers = " and ".join(f"{receiver}…" for receiver in own)
    return f"That is this service itself, where only {receivers} may be called."


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
