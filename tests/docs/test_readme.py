"""The README and the pages of docs/ match the code: tours are run, tables are compared, links are followed."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from reportsim.__main__ import VERBS, parser_for
from reportsim.app import build_app
from reportsim.benchmark.plan import Plan
from reportsim.cli.benchmark.command import plan_of
from reportsim.core.callback_policy.addresses import AllowList
from reportsim.pages.cliff.scenario import FIRST_LOAD, plan_at
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
UNTRUSTED = 99  # a benchmark's exit code when a check fails, as on a busy machine


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading of the README."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert match, f"the README has no section {title}"
    return match[1]


def table(text: str) -> list[list[str]]:
    """The rows of the first table in a text, without its head."""
    match = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert match
    rows = [line.strip("|").split("|") for line in match[0].splitlines()]
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


def steps(text: str) -> Iterator[Step]:
    """The commands of a tour in their order; lines that begin with `> ` continue a command."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, answer = part.replace("\n> ", "\0").partition("\n")
            yield Step(command.replace("\0", "\n").removeprefix(PROGRAMS), answer)


PROGRAMS = ".venv/bin/"
TOURS = {"README.md": section("The finding") + section("Three uses"), "docs/tour.md": page("tour.md")}


@dataclass
class Fresh:
    """A service as its first start makes it, and its database."""

    service: Service
    dsn: str


@pytest.fixture
async def fresh(server_dsn: str, tmp_path: Path) -> AsyncIterator[Fresh]:
    """A new service on an empty database, with shorter waits between callback attempts."""
    name = f"reportsim_readme_{os.getpid()}"
    connection = await connect(server_dsn)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
        dsn = on_database(server_dsn, name)
        settings = Settings(database_url=dsn, data_dir=tmp_path / "data", callback_waits=(0.05, 0.1))
        async with serving(settings) as service:
            yield Fresh(service, dsn)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


def test_the_tours_are_found() -> None:
    commands = [step.command for tour in TOURS.values() for step in steps(tour)]
    assert sum(command.startswith("curl ") for command in commands) >= 13
    for beginning in ("curl -s -X POST 127.0.0.1:8080/api/sync", "reportsim ledger import"):
        assert any(command.startswith(beginning) for command in commands)
    readme = [step.command for step in steps(TOURS["README.md"])]
    for beginning in ("reportsim predict", "reportsim benchmark", "curl -s 127.0.0.1:8080/webhook-test/mine"):
        assert any(command.startswith(beginning) for command in readme)
    assert any("callback_url" in command for command in readme)


def test_commands_are_called_where_a_first_user_finds_them() -> None:
    for name, tour in TOURS.items():
        assert "$ reportsim" not in tour, name


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


def test_the_finding_is_measured_on_the_service_of_the_picture() -> None:
    found = re.search(r"^\.venv/bin/reportsim (benchmark .*)$", section("The finding"), re.MULTILINE)
    assert found
    arguments = found[1].split()
    plan = Plan.from_json(plan_of(parser_for(arguments).parse_args(arguments)))
    shown = plan_at(FIRST_LOAD, plan.seed)
    assert plan.block_s == shown.block_s
    assert replace(plan, report=shown.report) == replace(shown, duration_s=plan.duration_s, blocks=plan.blocks)


@pytest.mark.parametrize("tour", TOURS)
async def test_a_tour_is_as_written(fresh: Fresh, tour: str, tmp_path: Path) -> None:
    if missing := [program for program in ("curl", "sha256sum") if shutil.which(program) is None]:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"the tour needs {' and '.join(missing)}")
    host = fresh.service.url.removeprefix("http://")
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "DATABASE_URL": fresh.dsn,
        "REPORTSIM_DATA_DIR": str(tmp_path / "data"),
    }
    output = ""
    for step in steps(TOURS[tour]):
        if step.command == f"ID={LEFT_OUT}":
            found = ID.search(output)
            assert found, output
            environment["ID"] = found[1]
        elif step.command.startswith("sleep "):
            await everything_ended(fresh.service)
        else:
            code, output = await run(step.command.replace(ADDRESS, host), environment, tmp_path)
            assert code in expected_codes(step.command), f"$ {step.command}\n{output}"
            assert step.matches(output, host), f"$ {step.command}\n{output}\nis not\n{step.answer}"


def expected_codes(command: str) -> set[int]:
    """The exit codes with which a command may end."""
    if command.startswith("reportsim benchmark"):
        return {0, UNTRUSTED}
    return {TIMED_OUT} if "--max-time" in command else {0}


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
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    # No document shows blanks at the ends of lines.
    return process.returncode, re.sub(r" +$", "", output.decode(), flags=re.MULTILINE)


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
    assert table(page("settings.md")) == expected
    assert "`REPORTSIM_TEST_DATABASE_URL`" in page("settings.md")


async def test_the_endpoints_are_all_there(tmp_path: Path) -> None:
    app = build_app(Settings(database_url="postgresql://localhost/nowhere", data_dir=tmp_path))
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    rows = table(page("endpoints.md"))
    assert {(method, path.strip("`")) for method, path, _ in rows} == routes
    assert len(rows) == len(routes)
    assert all(about for *_, about in rows)


def test_the_reports_are_all_there_with_their_options() -> None:
    expected = [
        [f"`{report.name}`", ", ".join(f"`{name}`" for name in report.parameters().fields)]
        for report in CATALOG.values()
    ]
    assert [row[:2] for row in table(page("reports.md"))] == expected
    for distribution in PARAMETERS_OF_DISTRIBUTION:
        assert f"`{distribution}`" in page("reports.md")


def test_the_commands_are_all_there() -> None:
    assert [command.strip("`") for command, _ in table(page("commands.md"))] == [f"reportsim {verb}" for verb in VERBS]


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"run", "test"} <= named <= targets


PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    assert links or path.name != "README.md"
    for target in links:
        if "://" not in target:
            assert (path.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:reportsim|tests|tools|benchmarks|docs|migrations|templates)/[\w./-]*)`", path.read_text("utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_names_every_page_of_the_documentation() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{path.name})" in README, path.name
