"""The README says what is so: its tour is run, its tables are compared."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from reportsim.__main__ import VERBS
from reportsim.app import build_app
from reportsim.core.callback_policy.addresses import AllowList
from reportsim.reports.catalog import CATALOG
from reportsim.schemas.service_time import PARAMETERS_OF_DISTRIBUTION
from reportsim.settings import Settings
from reportsim.store.pool import connect
from tests.conftest import Service, on_database, serving

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8080"
LEFT_OUT = "…"
ID = re.compile(r'"id": ?"([0-9a-f-]{36})"')
TIMED_OUT = 28  # curl's exit code when --max-time ends a stream


def section(title: str) -> str:
    """The text below a heading."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert match, f"the README has no section {title}"
    return match[1]


def table(title: str) -> list[list[str]]:
    """The rows of a section's table, without its head."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


# The tour


@dataclass
class Step:
    """A command of the tour, and the answer that stands below it."""

    command: str
    answer: str

    def matches(self, output: str, host: str) -> bool:
        """Whether an output is the answer, apart from what the answer leaves open."""
        pattern = ""
        for line in self.answer.replace(ADDRESS, host).splitlines():
            if line.strip() == LEFT_OUT:
                pattern += r"(?:.*\n)*?"
            else:
                pattern += ".*?".join(re.escape(part) for part in line.split(LEFT_OUT)) + r"\n"
        lines = output.replace("\r", "")
        return bool(re.fullmatch(pattern, lines if lines.endswith("\n") or not lines else lines + "\n"))


def steps() -> Iterator[Step]:
    """The commands of the tour in their order."""
    for block in re.findall(r"^```console\n(.*?)^```$", section("A tour with curl"), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, answer = part.partition("\n")
            yield Step(command, answer)


@pytest.fixture
async def fresh(server_dsn: str, tmp_path: Path) -> AsyncIterator[Service]:
    """A service as its first start makes it, but for shorter waits between callback attempts."""
    name = f"reportsim_readme_{os.getpid()}"
    connection = await connect(server_dsn)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
        settings = Settings(
            database_url=on_database(server_dsn, name), data_dir=tmp_path / "data", callback_waits=(0.05, 0.1)
        )
        async with serving(settings) as service:
            yield service
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


def test_the_tour_is_found() -> None:
    assert sum(step.command.startswith("curl ") for step in steps()) >= 10


async def test_the_tour_is_as_written(fresh: Service, tmp_path: Path) -> None:
    if missing := [program for program in ("curl", "sha256sum") if shutil.which(program) is None]:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"the tour needs {' and '.join(missing)}")
    host = fresh.url.removeprefix("http://")
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C",
    }
    output = ""
    for step in steps():
        if step.command == f"ID={LEFT_OUT}":
            found = ID.search(output)
            assert found, output
            environment["ID"] = found[1]
        elif step.command.startswith("sleep "):
            await everything_ended(fresh)
        else:
            code, output = await run(step.command.replace(ADDRESS, host), environment, tmp_path)
            assert code == (TIMED_OUT if "--max-time" in step.command else 0), step.command
            assert step.matches(output, host), f"$ {step.command}\n{output}\nis not\n{step.answer}"


async def run(command: str, environment: dict[str, str], folder: Path) -> tuple[int | None, str]:
    """The exit code and the output of a command of the shell."""
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        command,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def everything_ended(service: Service) -> None:
    """What the reader sleeps for."""
    async with service.client.get("/api/requests") as answer:
        items = (await answer.json())["items"]
    for item in items:
        await service.ended(item["id"])


@pytest.mark.parametrize(
    ("answer", "output", "same"),
    [
        ("a …\n", "a b\n", True),
        ("a …\n", "a b\nc\n", False),
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("a\n  …\nd\n", "a\nd\n", True),
        ("a\n…\n", "a\n", True),
        ("a\n", "a", True),
        ("a\n", "a\r\n", True),
        ("a\n", "a\nb\n", False),
        ("", "", True),
        ("", "a\n", False),
        (f"http://{ADDRESS}/\n", "http://127.0.0.1:1/\n", True),
    ],
)
def test_what_an_answer_leaves_open_is_all_that_may_differ(answer: str, output: str, same: bool) -> None:
    assert Step("", answer).matches(output, "127.0.0.1:1") is same


# The tables


def default_of(setting: "Field[Any]") -> str:
    """How the table writes a default."""
    if setting.name == "workers":
        return "`max(4, cores)`"
    match setting.default:
        case None | () | AllowList():
            return "none"
        case bool():
            return f"`{int(setting.default)}`"
        case tuple():
            return f"`{','.join(f'{value:g}' for value in setting.default)}`"
        case float():
            return f"`{setting.default:g}`"
        case _:
            return f"`{setting.default}`"


def test_the_settings_are_all_there_with_default_and_meaning() -> None:
    expected = [
        [f"`{setting.metadata['env']}`", default_of(setting), setting.metadata["about"]] for setting in fields(Settings)
    ]
    assert table("Settings") == expected
    assert "`REPORTSIM_TEST_DATABASE_URL`" in section("Settings")


async def test_the_endpoints_are_all_there(tmp_path: Path) -> None:
    app = build_app(Settings(database_url="postgresql://localhost/nowhere", data_dir=tmp_path))
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    rows = table("Endpoints")
    assert {(method, path.strip("`")) for method, path, _ in rows} == routes
    assert len(rows) == len(routes)
    assert all(about for *_, about in rows)


def test_the_reports_are_all_there_with_their_options() -> None:
    expected = [
        [f"`{report.name}`", ", ".join(f"`{name}`" for name in report.parameters().fields)]
        for report in CATALOG.values()
    ]
    assert [row[:2] for row in table("Reports")] == expected
    for distribution in PARAMETERS_OF_DISTRIBUTION:
        assert f"`{distribution}`" in section("Reports")


def test_the_commands_are_all_there() -> None:
    assert [command.strip("`") for command, _ in table("Command line")] == [f"reportsim {verb}" for verb in VERBS]


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"run", "test"} <= named <= targets


def test_links_lead_somewhere() -> None:
    links = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert links
    for target in links:
        assert (ROOT / target.partition("#")[0]).exists(), target
