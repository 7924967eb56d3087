"""What is pinned: everything that setup.cfg asks for, in one version, with hashes, from no index in particular."""

import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
GENERATORS = ROOT / "tests" / "generators"
EXTRAS = {
    "image": {"speed"},
    "service": {"embedded", "speed"},
    "dev": {"embedded", "speed", "test", "dev"},
    "peers": {"embedded", "speed", "test", "dev", "peers"},
}


class Pin(NamedTuple):
    """One requirement of a file, and how many archives it may be installed from."""

    requirement: Requirement
    hashes: int


def pins(path: Path) -> dict[str, Pin]:
    """Every requirement of a file by its name; a file may have nothing else but comments."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Pin] = {}
    for line in text.splitlines():
        words = line.split(" --hash=sha256:")
        assert all(re.fullmatch("[0-9a-f]{64}", word.strip()) for word in words[1:]), line
        requirement = Requirement(words[0])
        found[canonicalize_name(requirement.name)] = Pin(requirement, len(words) - 1)
    return found


def asked_for(extras: set[str]) -> Iterator[Requirement]:
    """What setup.cfg asks for, itself or in some extras."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    options = parser["options.extras_require"]
    for text in (parser["options"]["install_requires"], *(options[extra] for extra in extras)):
        yield from (Requirement(line) for line in text.splitlines() if line and not line.startswith("%"))


def fits(asked: Requirement, found: dict[str, Pin]) -> bool:
    """Whether a pin is there, and is of a version that is asked for."""
    pin = found.get(canonicalize_name(asked.name))
    return pin is not None and asked.specifier.contains(next(iter(pin.requirement.specifier)).version)


@pytest.mark.parametrize("path", [*FILES, GENERATORS / "requirements.txt"], ids=lambda path: path.stem)
def test_every_requirement_is_one_version_with_hashes(path: Path) -> None:
    found = pins(path)
    assert found
    for requirement, hashes in found.values():
        assert [each.operator for each in requirement.specifier] == ["=="], requirement
        assert requirement.url is None
        assert hashes, requirement


@pytest.mark.parametrize("name", EXTRAS)
def test_all_that_is_asked_for_is_pinned(name: str) -> None:
    found = pins(ROOT / "requirements" / f"{name}.txt")
    assert [asked for asked in asked_for(EXTRAS[name]) if not fits(asked, found)] == []


def test_what_building_needs_is_pinned() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    found = pins(ROOT / "requirements" / "build.txt")
    assert [asked for asked in map(Requirement, needed) if not fits(asked, found)] == []


def test_what_the_generators_need_is_pinned() -> None:
    needed = (GENERATORS / "requirements.in").read_text().splitlines()
    found = pins(GENERATORS / "requirements.txt")
    assert [asked for asked in map(Requirement, needed) if not fits(asked, found)] == []


def test_the_files_agree_on_every_version() -> None:
    assert {path.stem for path in FILES} == {"build", *EXTRAS}
    versions: dict[str, set[str]] = {}
    for path in FILES:
        for name, pin in pins(path).items():
            versions.setdefault(name, set()).add(str(pin.requirement.specifier))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_all_that_is_installed_has_a_hash_or_is_the_project(name: str) -> None:
    text = (ROOT / name).read_text().replace("\\\n", " ")
    commands = re.findall(r"(?:/pip (?:install|wheel)|-m \$\(PIP_INSTALL\))(.*?)(?:&&|\n)", text)
    assert len(commands) >= 4
    for command in commands:
        assert "--require-hashes" in command or "--no-deps" in command, command
        assert "--no-build-isolation" in command or not command.rstrip().endswith("."), command


def test_one_argument_pins_every_stage_of_the_image() -> None:
    text = (ROOT / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) >= 2
    assert set(bases) == {"${PYTHON_IMAGE}"}
    assert "PYTHON_IMAGE=" in (ROOT / "docs" / "commands.md").read_text()
