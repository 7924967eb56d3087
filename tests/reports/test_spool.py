"""Spools: small reports in one file, found again after a restart, bounded, and each its own file when asked for."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportsim.core.problems import Problem
from reportsim.reports.files import folder as module
from reportsim.reports.files.folder import ReportFiles
from reportsim.reports.files.spool import HEADER, SUFFIX, Spool
from tests.reports.books import new_id

MOST = 8_000
Open = Callable[..., ReportFiles]


async def put(files: ReportFiles, id: UUID, content: bytes) -> None:
    with files.draft(id) as draft:
        await draft.write(content)


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens folders, and closes them when the test is over."""
    with ExitStack() as stack:

        def open_one(folder: Path, most: int = 1_000_000) -> ReportFiles:
            return stack.enter_context(closing(ReportFiles(folder, most)))

        yield open_one


def spools(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def own(folder: Path) -> set[str]:
    """The reports that have a file of their own."""
    return {path.stem for path in folder.glob("*.csv")}


async def test_small_reports_share_a_file_until_one_is_asked_for(tmp_path: Path, opened: Open) -> None:
    files = opened(tmp_path)
    ids = [new_id() for _ in range(20)]
    for number, id in enumerate(ids):
        await put(files, id, b"%d\n" % number)
    [spool] = spools(tmp_path)
    assert own(tmp_path) == set()
    assert files.path(ids[7]).read_bytes() == b"7\n"
    assert own(tmp_path) == {str(ids[7])}
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    assert files.path(ids[7]).read_bytes() == b"7\n"
    assert spool.exists()


async def test_an_empty_report_is_one_too(tmp_path: Path, opened: Open) -> None:
    files = opened(tmp_path, MOST)
    id = new_id()
    await put(files, id, b"")
    assert files.path(id).read_bytes() == b""


async def test_a_larger_report_has_its_own_file_at_once(tmp_path: Path, opened: Open) -> None:
    files = opened(tmp_path)
    small, large = new_id(), new_id()
    await put(files, small, b"x" * (module.SMALL - 1))
    await put(files, large, b"x" * module.SMALL)
    assert own(tmp_path) == {str(large)}
    assert files.path(small).stat().st_size == module.SMALL - 1


async def test_the_last_of_two_executions_counts(tmp_path: Path, opened: Open) -> None:
    files = opened(tmp_path, MOST)
    id = new_id()
    await put(files, id, b"one")
    await put(files, id, b"two")
    assert files.path(id).read_bytes() == b"two"
    # Also where a file is there already, as after a crash of the machine that cut it.
    files.path(id).write_bytes(b"")
    await put(files, id, b"three")
    assert files.path(id).read_bytes() == b"three"


async def test_what_failed_is_not_there(tmp_path: Path, opened: Open) -> None:
    files = opened(tmp_path, MOST)
    id = new_id()
    with pytest.raises(ValueError, match="no"), files.draft(id):
        raise ValueError("no")
    assert not files.path(id).exists()
    await put(files, id, b"whole")
    files.remove([id, new_id()])
    assert not files.path(id).exists()


async def test_a_restart_finds_them_again_but_for_one_that_a_crash_cut(tmp_path: Path, opened: Open) -> None:
    files = opened(tmp_path, MOST)
    ids = [new_id() for _ in range(3)]
    for id in ids:
        await put(files, id, b"whole")
    files.close()
    [spool] = spools(tmp_path)
    cut = new_id()
    for tail in (b"", b"\0", HEADER.pack(cut.bytes, 5, 0) + b"cut"):
        with spool.open("ab") as handle:
            handle.write(tail)
    again = opened(tmp_path, MOST)
    await put(again, new_id(), b"new")
    assert len(spools(tmp_path)) == 2
    assert [again.path(id).read_bytes() for id in ids] == [b"whole"] * 3
    assert not again.path(cut).exists()
    # Every report of the first has a file of its own now.
    assert spools(tmp_path)[0] != spool


async def test_what_a_crash_of_the_machine_garbled_is_not_there(tmp_path: Path, opened: Open) -> None:
    files = opened(tmp_path, MOST)
    first, second = new_id(), new_id()
    await put(files, first, b"first")
    await put(files, second, b"second")
    files.close()
    [spool] = spools(tmp_path)
    spool.write_bytes(spool.read_bytes().replace(b"first", bytes(5)))
    again = opened(tmp_path, MOST)
    assert not again.path(first).exists()
    assert again.path(second).read_bytes() == b"second"


async def test_what_a_living_process_spools_is_left_alone(tmp_path: Path, opened: Open) -> None:
    files = opened(tmp_path, MOST)
    id = new_id()
    await put(files, id, b"ours")
    other = opened(tmp_path, MOST)
    assert not other.path(id).exists()
    other.remove([id])
    await put(files, new_id(), b"more")
    assert files.path(id).read_bytes() == b"ours"


async def test_a_folder_that_is_deleted_while_they_wait_comes_back(tmp_path: Path, opened: Open) -> None:
    folder = tmp_path / "reports"
    files = opened(folder, MOST)
    first, second = new_id(), new_id()
    await put(files, first, b"first")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    await put(files, second, b"second")
    assert [files.path(id).read_bytes() for id in (first, second)] == [b"first", b"second"]


async def test_the_oldest_go_with_their_spool(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPOOLS", 3)
    files = opened(tmp_path)
    monkeypatch.setattr(module, "SPOOL", 1_000)
    ids = [new_id() for _ in range(12)]
    for id in ids:
        await put(files, id, b"x" * 450)
    assert len(spools(tmp_path)) == 3
    assert [files.path(id).exists() for id in ids] == [False] * 6 + [True] * 6


async def test_a_spool_goes_with_its_last_report_and_with_their_time(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPOOL", 1_000)
    files = opened(tmp_path)
    ids = [new_id() for _ in range(7)]
    for id in ids:
        await put(files, id, b"x" * 450)
    assert len(spools(tmp_path)) == 4
    files.remove(ids[:2])
    assert len(spools(tmp_path)) == 3
    files.remove_before(ids[5])
    assert len(spools(tmp_path)) == 2
    # One of the second spool's is not that old, and the last one is still written to.
    assert [files.path(id).exists() for id in ids] == [False] * 4 + [True] * 3
    files.remove_before(UUID(int=2**128 - 1))
    assert len(spools(tmp_path)) == 1


async def test_a_full_disk_fails_the_report_and_leaves_the_others(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(tmp_path, MOST)
    first, lost, last = new_id(), new_id(), new_id()
    await put(files, first, b"first")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:10], at))
    with pytest.raises(Problem, match="could not be written"):
        await put(files, lost, b"lost")
    monkeypatch.setattr(os, "pwrite", write)
    await put(files, last, b"last")
    assert not files.path(lost).exists()
    assert [files.path(id).read_bytes() for id in (first, last)] == [b"first", b"last"]


async def test_what_a_new_spool_could_not_be_made_for_fails_alone(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPOOL", 1_000)
    files = opened(tmp_path)
    first, lost, last = new_id(), new_id(), new_id()
    await put(files, first, b"x" * 450)

    def refuse(_: Path) -> Spool:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "create", refuse)
        with pytest.raises(Problem, match="could not be written"):
            await put(files, lost, b"x" * 900)
    await put(files, last, b"last")
    assert [files.path(id).stat().st_size for id in (first, last)] == [450, 4]
    assert not files.path(lost).exists()


IDS = [new_id() for _ in range(6)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "path", "remove", "restart"]),
        st.sampled_from(range(len(IDS))),
        st.integers(0, 900),
    ),
    max_size=40,
)


@given(STEPS)
@settings(deadline=None, max_examples=60)
async def test_what_is_there_is_what_was_put_last_and_the_folder_stays_bounded(
    steps: Sequence[tuple[str, int, int]],
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = ReportFiles(folder, 3_000, small=250)
        contents: dict[UUID, bytes] = {}
        for number, (step, index, size) in enumerate(steps):
            id = IDS[index]
            match step:
                case "put":
                    contents[id] = b"%03d" % number + b"x" * size
                    await put(files, id, contents[id])
                case "path":
                    files.path(id)
                case "remove":
                    contents.pop(id, None)
                    files.remove([id])
                    assert not files.path(id).exists()
                case "restart":
                    files.close()
                    files = ReportFiles(folder, 3_000, small=250)
            on_disk = sum(path.stat().st_size for path in folder.iterdir())
            assert files._total == sum(files._sizes.values()) == on_disk <= 3_000
        for id in IDS:
            if (path := files.path(id)).exists():
                assert path.read_bytes() == contents.get(id, path.read_bytes())
        files.close()
