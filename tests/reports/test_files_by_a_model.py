"""Report files against a model of two dictionaries, over any sequence of what happens to them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportsim.reports.files import draft, folder
from reportsim.reports.files.folder import ReportFiles
from tests.reports.books import new_id

# Bytes: of all files, of all reports in memory, of the smallest that is a file, and of a draft without a file.
MOST: Final = 2_000
CACHE: Final = 400
SMALL: Final = 250
KEPT: Final = 1_000
IDS: Final = [new_id() for _ in range(5)]
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "fail", "path", "open", "remove", "restart"]),
        st.sampled_from(IDS),
        st.integers(0, SMALL) | st.integers(SMALL // 2, SMALL) | st.integers(SMALL, KEPT) | st.integers(KEPT, MOST + 1),
    ),
    min_size=10,
    max_size=50,
)


@dataclass
class Model:
    """What must be there: contents in memory and in files, oldest first."""

    memory: dict[UUID, bytes] = field(default_factory=dict)
    disk: dict[UUID, bytes] = field(default_factory=dict)

    def put(self, id: UUID, content: bytes) -> None:
        self.remove(id)
        if len(content) < SMALL:
            self.memory[id] = content
            while total(self.memory) > CACHE:
                del self.memory[next(iter(self.memory))]
        else:
            self.write(id, content)

    def write(self, id: UUID, content: bytes) -> None:
        self.disk[id] = content
        while total(self.disk) > MOST and len(self.disk) > 1:
            del self.disk[next(iter(self.disk))]

    def read(self, id: UUID) -> bytes | None:
        if id in self.memory:
            self.write(id, self.memory.pop(id))
        return self.disk.get(id)

    def remove(self, id: UUID) -> None:
        self.memory.pop(id, None)
        self.disk.pop(id, None)

    def restart(self) -> None:
        self.memory.clear()
        self.disk = dict(sorted(self.disk.items()))


def total(contents: dict[UUID, bytes]) -> int:
    return sum(map(len, contents.values()))


def put(files: ReportFiles, id: UUID, content: bytes, error: type[Exception] | None = None) -> None:
    with files.draft(id) as made:
        made.add(content[:7])
        made.add(content[7:])
        if error is not None:
            raise error


def read(files: ReportFiles, id: UUID) -> bytes | None:
    handle = files.open(id)
    if handle is None:
        return None
    with handle:
        return handle.read()


def take(step: str, files: ReportFiles, model: Model, id: UUID, content: bytes) -> None:
    """Takes a step with the files and with the model."""
    match step:
        case "put":
            put(files, id, content)
            model.put(id, content)
        case "fail":
            with suppress(KeyError):
                put(files, id, content, KeyError)
        case "path":
            path, expected = files.path(id), model.read(id)
            assert (path.read_bytes() if path.exists() else None) == expected
        case "open":
            assert read(files, id) == model.read(id)
        case "remove":
            files.remove([id])
            model.remove(id)


def assert_equal(files: ReportFiles, path: Path, model: Model) -> None:
    assert {item.name: item.read_bytes() for item in path.iterdir()} == {
        f"{id}.csv": content for id, content in model.disk.items()
    }
    assert files.ids() == [*model.memory, *model.disk]
    assert [files.size(id) for id in files.ids()] == [*map(len, model.memory.values()), *map(len, model.disk.values())]
    assert files._cached == model.memory
    assert files._cached_bytes == total(model.memory) <= CACHE
    assert files._total == total(model.disk)
    assert files._total <= MOST or len(model.disk) == 1


@given(STEPS)
@settings(deadline=None, max_examples=100)
def test_what_is_there_is_what_was_put_last_and_stays_bounded(steps: Sequence[tuple[str, UUID, int]]) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "CACHE", CACHE)
        patch.setattr(draft, "KEPT", KEPT)
        files, model = ReportFiles(Path(name), MOST, small=SMALL), Model()
        for number, (step, id, size) in enumerate(steps):
            if step == "restart":
                files = ReportFiles(Path(name), MOST, small=SMALL)
                model.restart()
            take(step, files, model, id, (b"%03d" % number + b"x" * size)[:size])
            assert_equal(files, Path(name), model)
        assert [read(files, id) for id in IDS] == [model.read(id) for id in IDS]
