"""The page of figures: one section for each part that was measured, replaced when the part is measured again."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

from reportsim.store.embedded_postgres.installation import find_programs

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "performance.md"
PACKAGES: Final = ("aiohttp", "asyncpg", "uvloop")
INTRODUCTION: Final = """\
# Performance

Written by `make bench`; [benchmarks/README.md](../benchmarks/README.md) says what each part does and how long it takes.
Every figure is the median of at least three rounds, with the lowest and the highest. What is compared was measured in
one run, round by round in turn; a ratio is the median of the rounds' ratios. Client, service and PostgreSQL share the
machine, and nothing is pinned to a core.
"""


def write_section(page: Path, order: Sequence[str], part: str, text: str) -> None:
    """Writes a part's section into the page, in its place among the others."""
    sections = read_sections(page.read_text(encoding="utf-8") if page.exists() else "")
    sections[part] = text.strip()
    known = [name for name in order if name in sections]
    written = [f"<!-- {name} -->\n{sections[name]}\n<!-- end of {name} -->\n" for name in known]
    page.write_text("\n".join([INTRODUCTION, *written]), encoding="utf-8")


def read_sections(text: str) -> dict[str, str]:
    """The sections of a page by their parts."""
    found = re.findall(r"^<!-- (\w+) -->\n(.*?)\n<!-- end of \1 -->$", text, re.MULTILINE | re.DOTALL)
    return dict(found)


def describe_run(checkouts: Sequence[Path], settings: str) -> str:
    """When, where and of what the figures of a section were taken."""
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    commits = " against ".join(commit(each) for each in checkouts)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commits}, {settings}; {processor()}, {os.cpu_count()} cores,"
        f" {memory:.0f} GB, load {os.getloadavg()[0]:.1f} at the end; {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, {postgresql_version()}, {versions}."
    )


def postgresql_version() -> str:
    """The version of the embedded PostgreSQL, on which everything is measured."""
    program = find_programs(ROOT) / "postgres"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return f"PostgreSQL {told.split()[-1]}"


def commit(checkout: Path) -> str:
    """The commit of a checkout, and whether it was changed since."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


def processor() -> str:
    """The name of the processor."""
    file = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", file.read_text() if file.exists() else "", re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()
