"""docs/http-contract.md names tests that are there, and every kind of problem."""

import re
from collections import defaultdict
from pathlib import Path

from reportsim.core.problems import KINDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "http-contract.md").read_text(encoding="utf-8")


def test_every_test_it_names_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/.]*)`", TEXT))
    assert len(named) > 20
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_it_names_every_test_of_the_contract() -> None:
    here = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name, "test_openapi.py"}
    assert here <= set(re.findall(r"`tests/contract/(\w+\.py)`", TEXT))


def test_every_kind_of_problem_stands_beside_its_status() -> None:
    kinds = defaultdict(set)
    for status, names in re.findall(r"^\| (\d{3}) \| (`.*) \|$", TEXT, re.MULTILINE):
        kinds[int(status)] = set(re.findall(r"`([\w-]+)`", names))
    expected = defaultdict(set)
    for kind in KINDS.values():
        expected[kind.status].add(kind.slug)
    assert kinds == expected
