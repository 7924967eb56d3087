"""Simulated runs that are too short for an accurate knee, for tests of what is said of it."""

import pytest

from reportsim.benchmark.endpoint import capacity


def shorten_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the requests, which takes a tenth of the time."""
    for name in ("RUN_REQUESTS", "MOST_RUN_REQUESTS", "CUSTOMERS"):
        monkeypatch.setattr(capacity, name, getattr(capacity, name) // 10)
