"""The installed package: every file is in it, migrations and templates are found, and its SQL fits its schema."""

import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import ModuleType

import jinja2
import pytest

import reportsim.reports
import reportsim.store
from reportsim.store.migrate import load
from reportsim.store.pool import Connection

ROOT = Path(__file__).parents[1]
PREPARABLE = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH)\b")
# Templates, and what works on the temporary tables of an import, cannot be prepared alone: their own tests run them.
INCOMPLETE = re.compile(r"\{\w+\}|\bimport_\w+")


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """Every module of a package."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def statements() -> dict[str, str]:
    """Every SQL constant that can be prepared, by where it stands."""
    return {
        f"{module.__name__}.{name}": value
        for package in (reportsim.store, reportsim.reports)
        for module in modules(package)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and PREPARABLE.match(value) and not INCOMPLETE.search(value)
    }


def test_the_wheel_has_every_file(tmp_path: Path) -> None:
    """The other tests import from the checkout, where a package is found whether setup.cfg lists it or not."""
    source, folders = tmp_path / "source", {"reportsim": "", "migrations": "reportsim/", "templates": "reportsim/"}
    for folder in folders:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    expected = {
        f"{prefix}{path.relative_to(source)}"
        for folder, prefix in folders.items()
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_the_migrations_are_part_of_the_package() -> None:
    names = sorted(
        item.name for item in resources.files("reportsim.migrations").iterdir() if item.name.endswith(".sql")
    )
    assert names
    assert [migration.name for migration in load()] == names


def test_the_templates_are_part_of_the_package_and_compile() -> None:
    environment = jinja2.Environment(loader=jinja2.PackageLoader("reportsim.templates", ""), autoescape=True)
    names = environment.list_templates(extensions=["html"])
    assert "base.html" in names
    for name in names:
        source, _, _ = environment.loader.get_source(environment, name)  # type: ignore[union-attr]
        environment.parse(source)


async def test_every_statement_fits_the_migrated_schema(connection: Connection, subtests: pytest.Subtests) -> None:
    found = statements()
    assert len(found) > 20
    for name, sql in found.items():
        with subtests.test(name=name):
            await connection.prepare(sql)
