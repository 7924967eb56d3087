"""The owner of leases: a replica, or a benchmark run, that claims requests and renews its claims."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from reportsim.store.pool import Fetches


@dataclass(frozen=True, slots=True)
class Owner:
    """The id under which requests are claimed, how long a claim lasts, and the connections that write it."""

    id: UUID
    lease: timedelta
    connections: Fetches
