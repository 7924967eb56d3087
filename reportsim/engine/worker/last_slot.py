"""The last free slot: a client that holds all the others does not get it for a long request.

A client is given as the hash of its address, one for each slot that it holds; None for a request without one.
"""

from collections.abc import Sequence
from typing import Final

from reportsim.core.model import Request
from reportsim.store.requests import PassOver

# A client that holds all slots but one gets the last one only for what is planned to be shorter.
LONG_S: Final = 2.0


def may_fill_all_slots(clients: Sequence[bytes | None], width: int) -> bool:
    """Whether one client may come to hold every slot."""
    distinct = set(clients)
    return width > 1 and len(distinct) <= 1 and None not in distinct


def last_slot_rule(clients: Sequence[bytes | None], width: int) -> PassOver | None:
    """Whose long requests are not given the last free slot: those of the client that holds all the others."""
    if len(clients) != width - 1 or len(set(clients)) != 1 or clients[0] is None:
        return None
    return PassOver(clients[0], LONG_S)


def is_passed_over(request: Request, rule: PassOver | None) -> bool:
    """Whether a rule keeps a request from the last slot."""
    return rule is not None and request.client == rule.client and request.planned_s > rule.longer_than_s
