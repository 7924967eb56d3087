"""Says what is about to be sent where, and asks: a load generator must not go anywhere by mistake."""

import sys
from collections.abc import Iterator

from reportsim.cli.errors import CommandError
from reportsim.core.number_format import duration
from reportsim.measure.plan import MeasurePlan
from reportsim.measure.target.model import Callback, Poll, Target


def describe(target: Target, plan: MeasurePlan) -> Iterator[str]:
    """What will be sent; variables of the environment stand as in the file."""
    count = f"about {plan.expected_count:,} requests, {plan.rate:g} a second for {duration(plan.duration_s)}"
    if target.sync is not None:
        yield f"sync:  {target.sync.request.method} {target.sync.request.url.raw}, {count}"
    if target.later is not None:
        yield f"async: {target.later.request.method} {target.later.request.url.raw}, {count}"
        match target.later.way:
            case Callback(host=host, port=port):
                yield f"       callbacks come to {host}:{port}"
            case Poll(url=url, interval_s=interval_s):
                yield f"       then GET {url.raw} for each, every {duration(interval_s)}"
            case stream:
                yield f"       results come from GET {stream.url.raw}"


def confirm(target: Target, plan: MeasurePlan, *, yes: bool) -> None:
    """Asks before anything is sent to another machine.

    Raises:
        CommandError: The answer is no, or there is nobody to ask.
    """
    if target.is_local:
        return
    print(*describe(target, plan), sep="\n", file=sys.stderr)
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("hosts that are not this machine need --yes where nobody can be asked")
    print("Send that? Only to services that you may load. [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise CommandError("nothing was sent")
