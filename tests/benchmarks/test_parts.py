"""Every part runs, on tiny sizes, and writes its section; what its figures are is nothing for a test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness.page import ROOT, read_sections
from benchmarks.parts.growth import REPORTS
from benchmarks.parts.plain import PYTHON
from benchmarks.parts.requests import CLAIM, DUE, LISTS, TAKE_OVER

pytestmark = pytest.mark.slow


def section(part: str, folder: Path) -> str:
    """Runs a part; returns its section."""
    page = folder / "page.md"
    command = [sys.executable, "-m", "benchmarks", part, "--small", "--rounds", "1", "--page", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_sections(page.read_text(encoding="utf-8"))[part]


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        ("growth", [f"{report}, {way}" for report in REPORTS for way in ("API", "statement")]),
        ("requests", [f"{name}, statement" for name in (*(f"list, {each}" for each in LISTS), CLAIM, TAKE_OVER, DUE)]),
        (
            "ledgers",
            [
                "2 k lines generated",
                "2 k lines imported",
                "one of 20 appends of 400 lines, in order",
                "one of 20 appends of 400 lines, all over",
            ],
        ),
        ("streams", ["5", "20"]),
    ],
)
def test_a_part_writes_its_section(part: str, rows: list[str], tmp_path: Path) -> None:
    text = section(part, tmp_path)
    assert [row for row in rows if f"| {row} |" not in text] == []


def test_an_upgrade_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.upgrade", str(ROOT), "400"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert "| longest wait of a reader |" in done.stdout, done.stderr


@pytest.mark.skipif(not shutil.which("psql"), reason="psql is not installed")
def test_psql_copies_the_same_file(tmp_path: Path) -> None:
    assert "| `POST /api/sync` |" in section("copy", tmp_path)


@pytest.mark.skipif(not PYTHON.exists(), reason="the plain stack is not installed: make .venv/peers/stamp")
def test_the_plain_stack_makes_the_same_reports(tmp_path: Path) -> None:
    text = section("plain", tmp_path)
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 5
    assert {row[-1].strip() for row in rows} == {"0"}, "answers with errors are no figures"


@pytest.mark.skipif(not PYTHON.exists(), reason="other queues are not installed: make .venv/peers/stamp")
def test_every_queue_is_drained() -> None:
    command = [str(PYTHON), "-m", "benchmarks.peers.queues", "50"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REPORTSIM_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("times slower") == 5
