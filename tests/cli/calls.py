"""The command line as a test calls it: in this process, which spares an interpreter for every case."""

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import pytest

from reportsim.__main__ import main

Argument: TypeAlias = str | bytes | Path
Done: TypeAlias = "subprocess.CompletedProcess[bytes]"

Environ: TypeAlias = Mapping[str, str]

MODULE = ("-m", "reportsim")
# Runs the command line, and names what it imported of what only the service needs.
IMPORTS = """
import sys
from reportsim.__main__ import main
try:
    main(sys.argv[1:])
finally:
    print(*{"aiohttp", "asyncio", "asyncpg", "jinja2", "marshmallow", "rich"} & sys.modules.keys(), file=sys.stderr)
"""
NONE: Environ = MappingProxyType({})


def call(*arguments: Argument, stdin: bytes = b"", environ: Environ = NONE) -> Done:
    """Runs a command with standard streams and variables of its own."""
    words = [os.fsdecode(argument) for argument in arguments]
    given, out, err = (
        io.TextIOWrapper(stream, encoding="utf-8", write_through=True)
        for stream in (io.BytesIO(stdin), io.BytesIO(), io.BytesIO())
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in (("stdin", given), ("stdout", out), ("stderr", err)):
            patch.setattr(sys, name, stream)
        for name, value in environ.items():
            patch.setenv(name, value)
        try:
            code: object = main(words)
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, *(stream.buffer.getvalue() for stream in (out, err)))


async def call_beside(*arguments: Argument, environ: Environ = NONE) -> Done:
    """The same for a command that has an event loop of its own."""
    return await asyncio.to_thread(call, *arguments, environ=environ)


def start(*arguments: Argument, program: tuple[str, ...] = MODULE, stdin: bytes = b"", environ: Environ = NONE) -> Done:
    """Runs a command as people do, in an interpreter that takes warnings for errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", *program, *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "1", **environ},
        timeout=100,
        check=False,
    )
