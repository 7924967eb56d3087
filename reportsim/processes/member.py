"""A process of a service that has several: its number, and the open files that it inherits from the supervisor."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Self

from reportsim.processes.buckets import TABLE_BYTES

# The number of the lock under which the processes write their log, behind those of the buckets.
LOG_LOCK: Final = TABLE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process of a service. The first one has what there can only be one of."""

    index: int
    count: int
    service: str
    """The id of this start of the service."""
    listener: int
    """The public listening socket of this process."""
    private_listener: int
    """A listening socket on the loopback address that leads to this process alone."""
    private_addresses: Sequence[tuple[str, int]]
    """The addresses of the private listening sockets of all processes."""
    handover: int
    """A socket from which the first process receives connections, and to which the others send them."""
    memory: int
    """The file of the shared memory and of the locks."""

    @property
    def is_first(self) -> bool:
        """Whether this is the first process."""
        return self.index == 0

    @property
    def files(self) -> tuple[int, ...]:
        """The open files that the process inherits."""
        return self.listener, self.private_listener, self.handover, self.memory

    def as_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what the supervisor passes on; the open files are not inherited any further."""
        values = json.loads(text)
        values["private_addresses"] = [(host, port) for host, port in values["private_addresses"]]
        member = cls(**values)
        for file in member.files:
            os.set_inheritable(file, False)
        return member
