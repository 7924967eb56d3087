"""Pins what is installed: `python tools/lock.py` writes the files in requirements/, with the hash of every archive.

setup.cfg and pyproject.toml say what is needed, these files which versions of it. Pins that still fit are kept;
`--upgrade` takes the newest instead, `--upgrade-package NAME` the newest of one. The files are for every Python and
platform that the project supports, and name no index. Needs uv (`pip install uv`).
"""

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = Path("requirements")
OLDEST_PYTHON: Final = "3.11"
# The extras of each file. The first file has all that the others have: it decides the versions.
EXTRAS: Final = MappingProxyType(
    {
        "peers": ("embedded", "speed", "dev", "peers"),
        "dev": ("embedded", "speed", "dev"),
        "service": ("embedded", "speed"),
        "image": ("speed",),
    }
)
# Clients of the OpenAPI document are made in an environment of their own.
GENERATORS: Final = Path("tests/generators")


def main(options: Sequence[str]) -> None:
    """Writes every file, each with the versions of those before it."""
    build = FOLDER / "build.txt"
    compile_pins(build, "-", options=options, given="\n".join(build_requirements()))
    pinned = [build]
    for name, extras in EXTRAS.items():
        path = FOLDER / f"{name}.txt"
        chosen = [f"--extra={extra}" for extra in extras]
        # What the first file has settled is not to be raised once more.
        raised = options if len(pinned) == 1 else ()
        compile_pins(path, "setup.cfg", *chosen, *(f"--constraints={each}" for each in pinned), options=raised)
        pinned.append(path)
    compile_pins(GENERATORS / "requirements.txt", str(GENERATORS / "requirements.in"), options=options)


def build_requirements() -> list[str]:
    """What building the project needs."""
    found: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    return found


def compile_pins(output: Path, *inputs: str, options: Sequence[str], given: str | None = None) -> None:
    """Has uv write one file."""
    command = [
        *("uv", "pip", "compile", *inputs, *options, "--universal", "--python-version", OLDEST_PYTHON),
        *("--generate-hashes", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
        *("--custom-compile-command", "python tools/lock.py", "--output-file", str(output)),
    ]
    subprocess.run(command, cwd=ROOT, input=given, text=True, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(sys.argv[1:])
