"""The supervisor of a service that has several processes: it starts them, watches them, and stops them together.

It owns what must outlive any one of them: the listening sockets, in which connections wait while a process is started
again, the shared memory, and the embedded PostgreSQL. A process whose supervisor has ended stops.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from reportsim.cli.errors import CommandError
from reportsim.cli.serve.postgres_watchdog import keep_running
from reportsim.cli.serve.service import IS_READY, LISTENS
from reportsim.cli.serve.sockets import bind, bind_group
from reportsim.cli.serve.stop import first_of, stopped_by_eof, stopped_by_signals
from reportsim.cli.serve.terminal import print_service_facts
from reportsim.processes.buckets import TABLE_BYTES
from reportsim.processes.member import Member
from reportsim.settings import Settings
from reportsim.store.embedded_postgres.server import EmbeddedPostgres
from reportsim.tasks import in_background

log = logging.getLogger(__name__)

# What a process may take beyond its grace time until it is killed.
OVERTIME_S: Final = 20.0
# A process that ends unexpectedly more often than this within this time is not started again.
MOST_RESTARTS: Final = 5
RESTARTS_WITHIN_S: Final = 60.0
# Ends of a process that was told to stop: by itself, or by the signal before it had begun.
CLEAN_ENDS: Final = frozenset({0, -signal.SIGTERM, 128 + signal.SIGTERM})


@dataclass(frozen=True, slots=True)
class Group:
    """What the processes of a service share, as open files."""

    service: str
    listeners: list[socket.socket]
    private_listeners: list[socket.socket]
    handover: tuple[socket.socket, socket.socket]
    memory: int

    @property
    def count(self) -> int:
        """The number of processes."""
        return len(self.listeners)

    @property
    def url(self) -> str:
        """The address at which all of them listen."""
        host, port = self.listeners[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def member(self, index: int) -> Member:
        """One process."""
        receiver, sender = self.handover
        return Member(
            index=index,
            count=self.count,
            service=self.service,
            listener=self.listeners[index].fileno(),
            private_listener=self.private_listeners[index].fileno(),
            private_addresses=[each.getsockname()[:2] for each in self.private_listeners],
            handover=(sender if index else receiver).fileno(),
            memory=self.memory,
        )


@contextlib.contextmanager
def open_group(settings: Settings, count: int) -> Iterator[Group]:
    """Opens what some processes share, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(each) for each in bind_group(settings.host, settings.port, count)]
        loopback = "::1" if listeners[0].family == socket.AF_INET6 else "127.0.0.1"
        private = [stack.enter_context(bind(loopback, 0)) for _ in listeners]
        receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (receiver, sender):
            stack.enter_context(each)
            each.setblocking(False)
        memory = os.memfd_create("reportsim")
        stack.callback(os.close, memory)
        os.ftruncate(memory, TABLE_BYTES)
        yield Group(secrets.token_hex(8), listeners, private, (receiver, sender), memory)


async def supervise(
    settings: Settings, group: Group, embedded: EmbeddedPostgres | None = None, *, until_eof: bool = False
) -> int:
    """Runs the processes of a group until a signal ends them; returns the exit code."""
    stop = asyncio.Event()
    supervisor = Supervisor(settings, group, stop)

    def abandon() -> None:
        supervisor.kill()
        if embedded is not None:
            embedded.stop()

    async with (
        stopped_by_signals(stop, abandon),
        stopped_by_eof(stop) if until_eof else contextlib.nullcontext(),
        keep_running(embedded, settings.data_dir),
    ):
        return await supervisor.run()


class Supervisor:
    """Starts the processes of a group, and starts those again that end unexpectedly."""

    def __init__(self, settings: Settings, group: Group, stop: asyncio.Event) -> None:
        """Supervises until `stop` is set."""
        self._settings = settings
        self._group = group
        self._stop = stop
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._listening = asyncio.Event()
        self._ready: set[int] = set()
        self._codes: list[int] = []
        self._failure: str | None = None
        self._given_up = asyncio.Event()

    async def run(self) -> int:
        """Runs all processes, and returns the exit code of the service."""
        indexes = range(self._group.count)
        keeping = [self._keep(index) for index in indexes]
        async with in_background(*keeping, names=tuple(f"process-{index}" for index in indexes)) as background:
            await first_of(self._stop, self._given_up)
            background.let_end()
            if not self._given_up.is_set():
                log.info("stopping")
            await self._end(background.tasks)
        if self._failure is not None:
            raise CommandError(self._failure)
        if self._given_up.is_set():
            return 1
        log.info("stopped")
        return 0 if CLEAN_ENDS.issuperset(self._codes) else 1

    def kill(self) -> None:
        """Ends all processes at once."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _end(self, keeping: "list[asyncio.Task[None]]") -> None:
        """Tells all processes to stop, and kills those that do not in time."""
        self._stop.set()
        for process in self._running.values():
            terminate(process)
        _, late = await asyncio.wait(keeping, timeout=self._settings.shutdown_grace_s + OVERTIME_S)
        if late:
            log.error("%d processes did not stop in time: killing them", len(self._running))
            self.kill()
            await asyncio.wait(late, timeout=OVERTIME_S)

    async def _keep(self, index: int) -> None:
        """Runs one process, again whenever it ends, until the service stops."""
        if index:
            # What keeps a process from starting is said by the first one, once.
            await first_of(self._listening, self._stop)
        ends: deque[float] = deque(maxlen=MOST_RESTARTS)
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            process = self._running[index] = await self._spawn(index)
            if self._stop.is_set():
                terminate(process)
            began = await self._watch(index, process)
            code = await process.wait()
            del self._running[index]
            self._ready.discard(index)
            if self._stop.is_set():
                self._codes.append(code)
                break
            if not began:
                # It has said why.
                self._given_up.set()
                break
            if len(ends) == MOST_RESTARTS and loop.time() - ends[0] < RESTARTS_WITHIN_S:
                self._failure = f"process {index} ends again and again ({describe_end(code)}): its log says why"
                self._given_up.set()
                break
            ends.append(loop.time())
            log.error("process %d has ended unexpectedly (%s): starting it again", index, describe_end(code))
        await self._stop.wait()

    async def _spawn(self, index: int) -> asyncio.subprocess.Process:
        """Starts a process; its standard input ends with this one, and its standard output says how far it is."""
        member = self._group.member(index)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reportsim", "serve", "--member", member.as_json()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=member.files,
            # Signals of the terminal go to the supervisor alone.
            start_new_session=True,
        )

    async def _watch(self, index: int, process: asyncio.subprocess.Process) -> bool:
        """Follows the start of a process to its end; returns whether it has begun to listen."""
        assert process.stdout is not None
        began = False
        async for line in process.stdout:
            if line == LISTENS:
                began = True
                self._listening.set()
            elif line == IS_READY:
                self._ready.add(index)
                if len(self._ready) == self._group.count:
                    self._announce()
        return began

    def _announce(self) -> None:
        url = self._settings.public_url or self._group.url
        log.info("reportsim is ready: %s (%d processes)", url, self._group.count)
        print_service_facts(self._settings, url)


def terminate(process: asyncio.subprocess.Process) -> None:
    """Tells a process to stop, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()


def describe_end(code: int) -> str:
    """How a process ended, by its exit code."""
    return f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
