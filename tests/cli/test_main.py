"""The command line itself: its verbs, and that it starts without what they need."""

import pytest

from reportsim import __version__
from reportsim.__main__ import VERBS
from tests.cli.calls import IMPORTS, call, start


def test_help_names_every_verb_and_imports_none() -> None:
    done = start("--help", program=("-c", IMPORTS))
    assert (done.returncode, done.stderr.split()) == (0, [])
    shown = " ".join(done.stdout.decode().split())
    for verb, about in VERBS.items():
        assert f"{verb} {about}" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_how_it_is_used(verb: str) -> None:
    done = call(verb, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"usage: reportsim {verb} ".encode())


def test_the_version_is_printed() -> None:
    assert call("--version").stdout.decode() == f"{__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("serv",), ("--verbose",), ("callbacks",), ("callbacks", "chek")])
def test_anything_else_is_an_error(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"usage: reportsim")
