"""A disk with no room: the oldest reports make some, what is there is served, and the service says what is wrong."""

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reportsim.core.problems import Problem
from reportsim.reports import files as module
from reportsim.reports.files.folder import ReportFiles
from reportsim.settings import Settings
from tests.conftest import Service, serving
from tests.reports.books import new_id
from tests.reports.test_files import put

DISK = 2_000_000
LARGE = {"ledger": "demo", "report_type": "general_ledger"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "reports", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root mounts")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def content(files: ReportFiles, id: Any) -> bytes | None:
    """What is read of a report."""
    if (handle := files.open(id)) is None:
        return None
    with handle:
        return handle.read()


@pytest.mark.parametrize("size", [100_000, 1_500_000], ids=["whole", "in-parts"])
async def test_the_oldest_reports_make_room_for_the_newest(disk: Path, size: int) -> None:
    files = ReportFiles(disk, 1 << 30)
    ids = [new_id() for _ in range(2 * DISK // size + 2)]
    for id in ids:
        await put(files, id, size)
        assert content(files, id) == b"x" * size
    assert content(files, ids[0]) is None
    assert files.is_writable()
    assert not list(disk.glob("*.part"))


async def test_small_reports_are_read_although_they_get_no_file(disk: Path) -> None:
    files = ReportFiles(disk, 1 << 30)
    ids = [new_id() for _ in range(5)]
    for id in ids:
        await put(files, id, 5_000)
    fill(disk)
    assert [content(files, id) for id in ids] == [b"x" * 5_000] * 5
    assert files.is_writable()


async def test_a_disk_that_others_fill_fails_the_report_until_there_is_room(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = ReportFiles(disk, 1 << 30)
    lost, later = new_id(), new_id()
    filler = fill(disk)
    with caplog.at_level(logging.WARNING, module.__name__):
        for _ in range(3):
            with pytest.raises(Problem, match="could not be written"):
                await put(files, lost, 100_000)
    assert not files.is_writable()
    assert content(files, lost) is None
    assert len([record for record in caplog.records if "cannot be written" in record.getMessage()]) == 1
    filler.unlink()
    assert files.is_writable()
    await put(files, later, 100_000)
    assert content(files, later) == b"x" * 100_000
    assert not list(disk.glob("*.part"))


def fill(disk: Path) -> Path:
    """Leaves no room on a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4_096))
    return filler


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
async def test_only_room_that_is_missing_costs_other_reports(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ReportFiles(tmp_path, 1 << 30, small=0)
    old, new = new_id(), new_id()
    await put(files, old, 1_000)
    write = os.write

    def refuse(handle: int, data: bytes) -> int:
        if content(files, old) is not None or code == errno.EIO:
            raise OSError(code, os.strerror(code))
        return write(handle, data)

    monkeypatch.setattr(os, "write", refuse)
    if code == errno.EIO:
        with pytest.raises(Problem, match="could not be written"):
            await put(files, new, 1_000)
        assert content(files, old) == b"x" * 1_000
    else:
        await put(files, new, 1_000)
        assert (content(files, old), content(files, new)) == (None, b"x" * 1_000)


async def test_a_service_on_a_full_disk_goes_on(settings: Settings, disk: Path) -> None:
    (settings.data_dir / "reports").symlink_to(disk)
    async with serving(settings) as service:
        made = [await report(service) for _ in range(30)]
        for request in made[-3:]:
            async with service.client.get(request["links"]["report"]) as answer:
                assert hashlib.sha256(await answer.read()).hexdigest() == request["result_payload"]["sha256"]
        # Those that made room are made again.
        found = await asyncio.gather(*(status(service, request["links"]["report"]) for request in made))
        assert found == [200] * len(made)
        assert await status(service, "/readyz") == 200
        for id in service.engine.files.ids():
            service.engine.files.remove([id])
        filler = fill(disk)
        async with service.client.post("/api/sync", json={"ledger": "tiny"}) as answer:
            assert answer.status == 200
        async with service.client.post("/api/sync", json=LARGE) as answer:
            assert answer.status == 500
            assert (await answer.json())["type"] == "/problems/report-failed"
        async with service.client.get("/readyz") as answer:
            assert (answer.status, (await answer.json())["failing"]) == (503, ["report_files"])
        filler.unlink()
        assert await status(service, "/readyz") == 200
        await report(service)


async def report(service: Service) -> Any:
    """A report of about a hundred kilobytes."""
    async with service.client.post("/api/sync", json=LARGE) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def status(service: Service, path: str) -> int:
    async with service.client.get(path) as answer:
        await answer.read()
        return answer.status
