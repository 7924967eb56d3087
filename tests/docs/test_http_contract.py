"""docs/http-contract.md names tests that are there, and every kind of problem."""

import json
import re
from collections import defaultdict
from pathlib import Path

from reportsim.api.openapi.parameters import REQUEST_HEADERS
from reportsim.core.problems import KINDS, MOST_ERRORS
from reportsim.demo_receiver.handlers import MAX_CALLBACK_BODY_BYTES
from reportsim.engine.sweeper import PRUNE_BATCH
from reportsim.pages.forms import FORM_TYPE
from reportsim.schemas.submission_parser import MAX_CACHED_BODIES, MAX_CACHED_BYTES
from reportsim.web.body import MAX_BODY_BYTES
from reportsim.web.limits.concurrency_limit import MAX_STREAMS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "http-contract.md").read_text(encoding="utf-8")


def test_every_test_it_names_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/.]*)`", TEXT))
    assert len(named) > 20
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_it_names_every_test_of_the_http_interface() -> None:
    here = {
        str(path.relative_to(ROOT))
        for package in ("tests/api", "tests/web")
        for path in (ROOT / package).glob("test_*.py")
    }
    assert len(here) > 30
    assert here - set(re.findall(r"`(tests/[\w/.]*)`", TEXT)) == set()


def test_every_kind_of_problem_stands_beside_its_status() -> None:
    kinds = defaultdict(set)
    for status, names in re.findall(r"^\| (\d{3}) \| (`.*) \|$", TEXT, re.MULTILINE):
        kinds[int(status)] = set(re.findall(r"`([\w-]+)`", names))
    expected = defaultdict(set)
    for kind in KINDS.values():
        expected[kind.status].add(kind.slug)
    assert kinds == expected


def test_figures_in_the_text_are_those_of_the_code() -> None:
    assert f"batches of {PRUNE_BATCH:,}." in TEXT
    assert f"lists {MOST_ERRORS} errors" in TEXT
    assert f"up to {MAX_CACHED_BYTES // 1024} KiB are remembered, {MAX_CACHED_BODIES} of them" in " ".join(TEXT.split())
    assert f"{MAX_STREAMS:,} streams in all" in TEXT
    too_large = KINDS["too-large"].about
    assert f"at most {MAX_BODY_BYTES // 1024} KiB" in too_large
    assert f"receiver {MAX_CALLBACK_BODY_BYTES // 1024} KiB" in too_large
    assert FORM_TYPE in KINDS["unsupported-media-type"].about


def test_nothing_says_that_a_key_is_kept_for_ever() -> None:
    for text in (json.dumps(REQUEST_HEADERS), *(kind.about for kind in KINDS.values()), TEXT):
        assert "for ever" not in text
