"""Clients that generators make of /openapi.json: no operation is left out, and what is made passes its type checker."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reportsim.api.openapi.document import document
from reportsim.app import build_app
from reportsim.settings import Settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
TOOLS = ROOT / ".venv" / "generators"
INSTALL_S = 300
GENERATE_S = 120


@pytest.fixture(scope="module")
def tools() -> Path:
    """The generators, installed as the Makefile says."""
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", ".venv/generators/stamp"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=INSTALL_S)
    return TOOLS


@pytest.fixture
async def spec(tmp_path: Path) -> Path:
    """The document as a file."""
    app = build_app(Settings(database_url="postgresql://localhost/nowhere", data_dir=tmp_path))
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document(app, "http://127.0.0.1:8080/webhook-test/")))
    return file


def run(*command: str | Path, folder: Path) -> str:
    """What a command says, which must succeed; the generators' own programs come first."""
    env = {**os.environ, "PATH": f"{TOOLS / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=GENERATE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def operations(spec: Path) -> set[str]:
    """The name of every operation."""
    paths: dict[str, dict[str, Any]] = json.loads(spec.read_text())["paths"]
    return {operation["operationId"] for item in paths.values() for operation in item.values()}


def test_a_python_client_has_every_operation_and_the_right_types(tools: Path, spec: Path) -> None:
    folder = spec.parent
    generator = tools / "bin" / "openapi-python-client"
    said = run(
        generator, "generate", "--path", spec, "--output-path", folder / "client", "--meta", "none", folder=folder
    )
    assert "WARNING" not in said, said
    assert "Unable" not in said, said
    made = {file.stem for file in (folder / "client" / "api").glob("*/*.py") if file.stem != "__init__"}
    assert made == operations(spec)
    modules = [f"client.api.{file.parent.name}.{file.stem}" for file in (folder / "client" / "api").glob("*/[a-z]*.py")]
    python = tools / "bin" / "python"
    run(python, "-c", f"import {', '.join(modules)}", folder=folder)
    # The generator's own transport does not pass, whatever the document: what it makes of the document does.
    run(python, "-m", "mypy", "--follow-imports=silent", "client/models", folder=folder)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: the TypeScript generator needs Node.js")
def test_a_typescript_client_has_every_operation_and_the_right_types(tools: Path, spec: Path) -> None:
    folder = spec.parent
    programs = tools / "node_modules" / ".bin"
    run(programs / "openapi-typescript", spec, "--output", folder / "api.ts", folder=folder)
    used = [f'const {name}: keyof operations = "{name}";' for name in sorted(operations(spec))]
    client = ['import type { operations } from "./api";', *used, 'const none: keyof operations = "no_such";']
    (folder / "client.ts").write_text("\n".join(client[:-1]))
    check = (programs / "tsc", "--noEmit", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck")
    run(*check, "client.ts", folder=folder)
    # An operation that is not there is an error, so that the check above can fail.
    (folder / "client.ts").write_text("\n".join(client))
    with pytest.raises(AssertionError, match="no_such"):
        run(*check, "client.ts", folder=folder)
