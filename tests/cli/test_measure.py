"""`reportsim measure`: what it prints and writes, what it refuses, and what it asks before it sends."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from reportsim.__main__ import main
from reportsim.cli.measure import command
from reportsim.cli.measure.example import EXAMPLE
from reportsim.measure.target.reader import read_target
from tests.measure.malformed import FULL, MALFORMED
from tests.measure.services import CALLBACK, LIMITS, SSE, SYNC, Service

SECRET = "s3cr3t-value-of-the-environment"
LOAD = ("--rate", "40", "--duration", "4", "--blocks", "4", "--arrivals", "constant")


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


@contextlib.asynccontextmanager
async def starting(*arguments: str, **pipes: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that runs as long as the context lasts."""
    given = {"stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "reportsim", "measure", *arguments),
        **{**given, **pipes},  # type: ignore[arg-type]
        env={**os.environ, "COLUMNS": "160", "TOKEN": SECRET},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def call(*arguments: str) -> Ended:
    """Runs a command to its end."""
    async with starting(*arguments) as process, asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def write(path: Path, service: Service, *parts: str) -> str:
    """A target file for a running service."""
    file = path / "target.toml"
    file.write_text("".join((*parts, LIMITS)).replace("URL", service.url))
    return str(file)


SECRETIVE = SYNC.replace("URL/report", "URL/report?token=${env:TOKEN}").replace(
    "body =", 'headers = {Authorization = "Bearer ${env:TOKEN}"}, body ='
)


async def test_nothing_but_the_result_is_printed_and_no_secret_anywhere(tmp_path: Path) -> None:
    def fault(index: int) -> str:
        return "sheds" if index % 10 == 0 else ""

    html, samples = tmp_path / "out.html", tmp_path / "out.csv"
    async with Service(fault=fault).running() as service:
        file = write(tmp_path, service, SECRETIVE, CALLBACK)
        ended = await call(file, *LOAD, "--json", "--html", str(html), "--samples", str(samples))
    result = json.loads(ended.out)
    assert {"sync", "async", "comparison", "checks", "verdict"} <= set(result)
    assert result["sync"]["outcomes"]["shed"] == 16
    assert ended.err.splitlines() == [f"wrote {samples}", f"wrote {html}"]
    assert ended.code == 99, "requests that are shed miss the usual objectives"
    page = html.read_text()
    assert "Rates and occupancy" in page
    assert "busy workers, mean" not in page
    assert "H12" in page
    assert len(samples.read_text().splitlines()) == 2 + 2 * 160
    for text in (ended.out, ended.err, page, samples.read_text()):
        assert SECRET not in text


async def test_objectives_decide_the_exit_code_if_the_measurement_is_trusted(tmp_path: Path) -> None:
    async with Service().running() as service:
        file = write(tmp_path, service, SYNC)
        good = await call(file, *LOAD, "--json", "--objective", "sync.outcomes.ok >= 160")
        bad = await call(file, *LOAD, "--objective", "sync.time_to_result_ms.p50 < 1")
    result = json.loads(good.out)
    assert result["slo"]["sync"] == {
        "pass": True,
        "objectives": [{"metric": "outcomes.ok", "op": ">=", "value": 160, "measured": 160, "pass": True}],
    }
    assert good.code == (0 if result["trusted"] else 99)
    assert bad.code == 99
    assert bad.out.startswith(("This run can be trusted: ", "Do not trust this run: "))
    assert "sync missed time_to_result_ms.p50 < 1" in bad.out
    assert "Not known of a service that is not reportsim's own: queue, workers" in bad.out


async def test_ctrl_c_ends_cleanly_and_shows_what_there_is(tmp_path: Path) -> None:
    async with Service().running() as service:
        file = write(tmp_path, service, SYNC)
        csv = tmp_path / "out.csv"
        arguments = (file, "--rate", "50", "--duration", "60", "--blocks", "50", "--samples", str(csv))
        async with starting(*arguments) as process, asyncio.timeout(60):
            while service.did["sync "] < 130:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, err = (part.decode() for part in await process.communicate())
    assert process.returncode == 128 + signal.SIGINT
    assert "time to result, p50" in out
    assert "The measurement was interrupted" in out
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "reportsim: interrupted by SIGINT"
    assert len(csv.read_text().splitlines()) > 100


async def test_a_terminal_sees_how_it_goes_on(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    seen = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):
            seen.extend(os.read(leader, 65_536))

    loop = asyncio.get_running_loop()
    loop.add_reader(leader, read)
    try:
        async with Service().running() as service:
            arguments = (write(tmp_path, service, SYNC, CALLBACK), *LOAD, "--json")
            async with starting(*arguments, stderr=follower) as process, asyncio.timeout(90):
                out, _ = await process.communicate()
    finally:
        loop.remove_reader(leader)
        os.close(leader)
        os.close(follower)
    json.loads(out)
    live = re.findall(r"sent ([\d,]+) · answered ([\d,]+) · waiting ([\d,]+) · lag", seen.decode(errors="replace"))
    assert len(live) > 3
    assert [int(sent.replace(",", "")) for sent, *_ in live] == sorted(int(sent.replace(",", "")) for sent, *_ in live)


@pytest.fixture
def nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes sure that no measurement is begun."""

    def refuse(*_: object) -> None:
        raise AssertionError("a measurement was begun")

    monkeypatch.setattr(command, "Measurement", refuse)


def run(*arguments: str) -> int:
    """The exit code of the command in this process."""
    try:
        return main(["measure", *arguments])
    except SystemExit as error:
        return int(error.code or 0)


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_one_line_and_nothing_is_sent(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {"TOKEN": SECRET, "SECRET": "whsec_" + "QUJD" * 8, "BROKEN": f"{SECRET}\n"}.items():
        monkeypatch.setenv(variable, value)
    key, text = MALFORMED[name]
    file = tmp_path / "target.toml"
    file.write_text(text)
    assert run(str(file), "--yes") == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith(f"reportsim: {file}: {key}")
    assert SECRET not in line


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "5001"], "rate must be a number from 0.1 to 5000"),
        (["--rate", "1000", "--duration", "201"], "rate times duration must not exceed 200,000"),
        (["--duration", "601"], "duration_s must be a number from 1 to 600"),
        (["--objective", "async.p95 < 3"], "no side async"),
        (["--objective", "faster"], "'faster' is not like"),
    ],
)
def test_what_is_out_of_bounds_is_refused(
    arguments: Sequence[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "target.toml"
    file.write_text('[sync]\nrequest = {url = "http://127.0.0.1:9/"}\n')
    assert run(str(file), *arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("data", [b"\xff\xfe", b"#" * 300_000, None], ids=["no text", "too large", "not there"])
def test_what_cannot_be_read_is_one_line(
    data: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "target.toml"
    if data is not None:
        file.write_bytes(data)
    assert run(str(file)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("answer", [None, "", "n\n", "sure\n"])
def test_other_machines_are_named_and_asked_about(
    answer: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        def isatty(self) -> bool:
            return answer is not None

        def readline(self) -> str:
            return answer or ""

    monkeypatch.setattr(sys, "stdin", Stdin())
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("SECRET", "whsec_" + "QUJD" * 8)
    file = tmp_path / "target.toml"
    file.write_text(FULL.replace("a.example/jobs", "a.example/jobs?${env:TOKEN}"))
    assert run(str(file)) == 1
    err = capsys.readouterr().err
    assert "POST https://a.example/report, about 480 requests, 8 a second for 60 s" in err
    assert "https://a.example/jobs?${env:TOKEN}" in err
    assert ("--yes" if answer is None else "nothing was sent") in err
    assert SECRET not in err


@pytest.mark.parametrize("answer", ["y\n", "yes\n", None])
def test_who_agrees_or_says_yes_beforehand_measures(
    answer: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            assert answer is not None, "--yes asks nothing"
            return answer

    class Begun(Exception):
        pass

    def begin(*_: object) -> None:
        raise Begun

    monkeypatch.setattr(sys, "stdin", Stdin())
    monkeypatch.setattr(command, "Measurement", begin)
    file = tmp_path / "target.toml"
    file.write_text('[sync]\nrequest = {url = "http://192.0.2.1/"}\n')
    with pytest.raises(Begun):
        run(str(file), *(["--yes"] if answer is None else []))


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "target.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file.write_text(CALLBACK.replace("URL", "http://127.0.0.1:9").replace("127.0.0.1:0", address))
        assert run(str(file)) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"reportsim: cannot listen for callbacks on {address}: Address already in use"


def test_a_stream_that_cannot_be_opened_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportsim.measure.ways.streams.CONNECT_S", 0.1)
    file = tmp_path / "target.toml"
    file.write_text(SSE.replace("URL", "http://127.0.0.1:9"))
    assert run(str(file)) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line == "reportsim: the stream of results did not open within 0.1 s"


def test_the_example_is_a_target_file_and_replaces_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--example") == 0
    assert capsys.readouterr().out == EXAMPLE
    file = tmp_path / "target.toml"
    assert run(str(file), "--example") == 0
    target = read_target(file.read_text(), {})
    assert target.is_local
    file.write_text("mine")
    assert run(str(file), "--example") == 1
    assert file.read_text() == "mine"


def test_every_line_that_the_example_leaves_out_could_be_put_in() -> None:
    """Without its marks each of the commented ways is a target file, too."""
    environ = {"TOKEN": "t", "SECRET": "whsec_" + "QUJD" * 8}
    head, *parts = re.split(r"^(?:# )?\[(async\.\w+)\]", EXAMPLE, flags=re.MULTILINE)
    assert parts[::2] == ["async.callback", "async.poll", "async.sse"]
    for name, lines in zip(parts[::2], parts[1::2], strict=True):
        way = re.sub(r"^# (?=\w+ = )", "", lines.partition("\n[limits]")[0], flags=re.MULTILINE)
        sent = head if name == "async.callback" else head.replace("${callback_url}", "${key}")
        assert read_target(f"{sent}[{name}]{way}", environ).later is not None
