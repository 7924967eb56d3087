"""The self-test of the instrument: a server that stands still shows in the percentiles as computed by hand."""

from dataclasses import replace

import pytest

from reportsim.cli.benchmark.self_test import SelfTest, run_self_test
from tests.faults.conftest import own_dsn, server
from tests.faults.process import ServerProcess

__all__ = ["own_dsn", "server"]


@pytest.mark.slow
async def test_a_frozen_server_shows_up_as_computed_by_hand(server: ServerProcess) -> None:
    found = await run_self_test(server.url, server.pid)
    assert found.ok, found
    # The freeze is long enough to be seen in both.
    assert found.by_hand["max"] > 1_500


def test_a_freeze_that_is_hidden_fails_the_self_test() -> None:
    by_hand = {"p50": 20.0, "p90": 1_100.0, "max": 2_000.0}
    measured = {"p50": 24.0, "p90": 1_150.0, "max": 2_040.0}
    good = SelfTest(
        side="sync",
        by_hand=by_hand,
        measured=measured,
        from_send_p90=1_140.0,
        other="async",
        other_p90=30.0,
        all_sent=True,
    )
    assert good.ok
    # What a generator shows that waits for answers before it sends: measured from when requests were due, it is right.
    assert not replace(good, from_send_p90=20.0).ok
    assert not replace(good, measured={"p50": 24.0, "p90": 25.0, "max": 2_040.0}).ok
    assert not replace(good, all_sent=False).ok
    # A freeze that came too late to show anything.
    late = {"p50": 20.0, "p90": 20.0, "max": 2_000.0}
    assert not replace(good, by_hand=late, measured=late, from_send_p90=20.0).ok
    # Time of the frozen side that is counted for the other one.
    assert not replace(good, other_p90=1_150.0).ok
