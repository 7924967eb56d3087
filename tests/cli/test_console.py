"""What commands print where a program reads: whole lines, whatever the width of a terminal, and no progress."""

import ast
from pathlib import Path

import pytest
from rich.table import Table

from reportsim import cli
from reportsim.cli.console import open_console

COMMANDS = Path(cli.__file__).parent


def test_piped_tables_and_sentences_are_not_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = Table("name", "value", box=None)
    table.add_row("x" * 60, "y" * 60)
    for stderr in (False, True):
        console = open_console(stderr=stderr)
        console.print(table)
        console.print("word " * 60)
    for text in capsys.readouterr():
        assert len(text.splitlines()) == 3
        assert f"{'x' * 60}  {'y' * 60}" in text


def test_a_terminal_keeps_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert open_console().width == 40


def test_every_command_opens_its_consoles_this_way() -> None:
    calls = [
        (path.name, node.lineno)
        for path in COMMANDS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Console"
    ]
    assert {name for name, _ in calls} == {"console.py"}
