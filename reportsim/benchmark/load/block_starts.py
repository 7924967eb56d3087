"""When the blocks of a run began."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reportsim.benchmark.workload import Block
from reportsim.core.model import rfc3339

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Started:
    """A block, and when it began on the monotonic clock."""

    block: Block
    at: float


def list_blocks(starts: list[Started]) -> list[Json]:
    """When each block began, in the order in which they ran."""
    epoch = time.time() - time.monotonic()
    return [
        {
            "side": start.block.side.name,
            "block": start.block.number + 1,
            "started_at": rfc3339(datetime.fromtimestamp(epoch + start.at, UTC)),
        }
        for start in starts
    ]
