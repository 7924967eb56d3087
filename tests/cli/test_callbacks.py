"""`python -m reportsim callbacks check` as people and programs run it."""

import json
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.cli.calls import IMPORTS, MODULE, Done, call, start
from tests.core.callback_policy.test_urls import ALLOWED, REFUSED, table

GOOD, BAD = "https://example.com/hook", "http://127.0.0.1/"
NAMES = {
    "good.example": ["93.184.216.34", "2606:4700::1111"],
    "mixed.example": ["93.184.216.34", "10.0.0.1"],
    "inside.example": ["127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "scoped.example": ["fe80::1"],
    "xn--bcher-kva.example": ["fd00::1"],
}


def check(*arguments: str | bytes, **more: Any) -> Done:
    return call("callbacks", "check", *arguments, **more)


def decided(*arguments: str | bytes, **more: Any) -> list[tuple[str, str, str | None]]:
    """What --json says of each URL."""
    return read(check("--json", *arguments, **more))


def read(done: Done) -> list[tuple[str, str, str | None]]:
    """What was printed with --json."""
    assert done.stderr == b""
    lines = done.stdout.decode("ascii").splitlines()
    objects = [json.loads(line) for line in lines]
    assert all(list(each) == ["url", "decision", "reason"] for each in objects)
    assert done.returncode == any(each["decision"] == "refuse" for each in objects)
    return [tuple(each.values()) for each in objects]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may use a socket."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was used")

    for name in ("create_connection", "getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names lead to what this file says."""

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        scope = 2 if host == "scoped.example" else 0
        return [(0, 1, 6, "", (found, port, 0, scope) if ":" in found else (found, port)) for found in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_says_of_each_url_whether_it_may_be_called() -> None:
    assert decided(GOOD, BAD, "http://[::1]/") == [
        (GOOD, "allow", None),
        (BAD, "refuse", "loopback"),
        ("http://[::1]/", "refuse", "loopback"),
    ]


def test_reads_one_url_a_line_that_ends_at_the_line_feed_and_nowhere_else() -> None:
    given = [
        GOOD,
        GOOD + "\r",
        " " + GOOD,
        GOOD + " ",
        "",
        "http://exam\0ple.com/",
        GOOD + "\x0b" + GOOD,
        "\ufeff" + GOOD,
    ]
    given += [GOOD + "\u2028" + GOOD, "http://bücher.example/", "http://last.example"]
    stdin = "\n".join(given).encode()
    expected = [
        (GOOD, "allow", None),
        *((url, "refuse", "forbidden-character") for url in given[1:4]),
        ("", "refuse", "scheme"),
        *((url, "refuse", "forbidden-character") for url in given[5:9]),
        ("http://bücher.example/", "allow", None),
        ("http://last.example", "allow", None),
    ]
    assert decided("-", stdin=stdin) == expected
    assert decided("-", stdin=stdin + b"\n") == expected
    assert decided("-", stdin=b"") == []
    assert decided("-", stdin=b"\n") == [("", "refuse", "scheme")]


def test_takes_standard_input_where_it_stands_among_others() -> None:
    found = decided(BAD, "-", GOOD, stdin=b"https://piped.example/\n")
    assert [url for url, *_ in found] == [BAD, "https://piped.example/", GOOD]


def test_refuses_what_is_not_utf_8() -> None:
    raw = [b"http://\xff.example/", b"\xc3", b"http://\xed\xa0\x80.example/", b"\xf0\x9f\x92"]
    elsewhere = start("callbacks", "check", "--json", *raw, environ={"LC_ALL": "C", "PYTHONUTF8": "0"})
    for found in (decided("-", stdin=b"\n".join(raw)), decided(*raw), read(elsewhere)):
        assert len(found) == len(raw)
        for url, decision, reason in found:
            assert (decision, reason) == ("refuse", "forbidden-character")
            assert "\ufffd" in url


def test_decides_every_url_as_a_submission_does() -> None:
    cases = [(url, None) for url in ALLOWED.split()] + table(REFUSED)
    stdin = "\n".join(url for url, _ in cases).encode()
    found = decided("-", stdin=stdin)
    assert [(url, reason) for url, _, reason in found] == cases
    assert all((decision == "allow") == (reason is None) for _, decision, reason in found)


@pytest.mark.usefixtures("offline")
def test_uses_no_network() -> None:
    cases = [url for url, _ in table(REFUSED)] + ALLOWED.split()
    assert len(decided("-", stdin="\n".join(cases).encode())) == len(cases)
    with pytest.raises(AssertionError, match="the network was used"):
        check("--resolve", GOOD)


def test_imports_nothing_that_only_the_service_needs() -> None:
    for arguments in (("check", "--json", GOOD), ("check", "--help")):
        done = start("callbacks", *arguments, program=("-c", IMPORTS))
        assert done.stdout
        assert done.stderr.split() == []


@pytest.mark.usefixtures("names")
def test_looks_names_up_when_it_is_asked_to() -> None:
    names = ["good", "mixed", "inside", "mapped", "scoped", "bücher", "unknown"]
    found = decided("--resolve", *(f"https://{name}.example/" for name in names), BAD)
    assert [reason for _, _, reason in found] == [
        *(None, "private", "loopback", "ipv4-mapped", "zone-id", "private", "dns", "loopback"),
    ]
    assert [reason for *_, reason in decided(*(f"https://{name}.example/" for name in names))] == [None] * len(names)


@pytest.mark.usefixtures("names")
def test_takes_the_setting_into_account() -> None:
    urls = ["http://10.0.0.1/", "http://127.0.0.1:9000/", "http://receiver:9000/", "http://169.254.169.254/"]
    assert [reason for *_, reason in decided(*urls)] == ["private", "loopback", "single-label", "metadata"]
    opened = decided(*urls, environ={"REPORTSIM_CALLBACK_ALLOW": "10.0.0.0/8"})
    assert [reason for *_, reason in opened] == [None, "loopback", None, "metadata"]
    inside = decided("--resolve", "http://inside.example/", environ={"REPORTSIM_CALLBACK_ALLOW": "127.0.0.0/8"})
    assert [reason for *_, reason in inside] == [None]


def test_a_wrong_setting_is_one_line() -> None:
    done = check(GOOD, environ={"REPORTSIM_CALLBACK_ALLOW": "10.0.0.0/99"})
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"reportsim: REPORTSIM_CALLBACK_ALLOW=")
    assert done.stderr.count(b"\n") == 1


def test_tells_people_why() -> None:
    done = check(GOOD, "http://10.0.0.1/", "http://a\x1b[31mb.example/")
    assert done.returncode == 1
    first, second, third = done.stdout.decode().splitlines()
    assert first == f"allow   {GOOD}"
    assert second.startswith("refuse  http://10.0.0.1/  private: The address 10.0.0.1 is a private address")
    assert "REPORTSIM_CALLBACK_ALLOW" in second
    assert "\x1b" not in third
    assert third.startswith(r"refuse  http://a\x1b[31mb.example/  forbidden-character")


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        ([GOOD], b"", 0),
        ([GOOD, "http://10.0.0.1/"], b"", 1),
        ([BAD, GOOD], b"", 1),
        (["-"], f"{GOOD}\n{BAD}\n{GOOD}\n".encode(), 1),
        (["-"], b"", 0),
        (["--resolve", "https://good.example/"], b"", 0),
        (["--resolve", "https://good.example/", "https://mixed.example/"], b"", 1),
        (["--resolve", "https://unknown.example/"], b"", 1),
    ],
)
def test_ends_with_1_when_it_refuses_any(arguments: list[str], stdin: bytes, code: int) -> None:
    assert check(*arguments, stdin=stdin).returncode == code
    assert check("--json", *arguments, stdin=stdin).returncode == code


def test_takes_what_looks_like_an_option_behind_two_dashes() -> None:
    assert [url for url, *_ in decided("--", "--json", "-x", GOOD)] == ["--json", "-x", GOOD]


def test_without_urls_it_says_how_it_is_used() -> None:
    done = check()
    assert done.returncode == 2
    assert b"URL" in done.stderr


def test_answers_each_line_at_once() -> None:
    command = [sys.executable, *MODULE, "callbacks", "check", "--json", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for url in (GOOD, BAD):
            process.stdin.write(url.encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["url"] == url
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(30) == 1


def test_who_stops_reading_stops_it_without_a_word() -> None:
    command = f"yes {GOOD} | {sys.executable} -m reportsim callbacks check - | head -n 3"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert (done.stdout.count(b"\n"), done.stderr) == (3, b"")


def test_takes_any_number() -> None:
    urls = [f"https://host{number}.example.com:8443/hook?x={number}" for number in range(10_000)]
    urls += [f"http://{1 + number % 99}.{number % 256}.{number // 256}.7/hook" for number in range(10_000)]
    found = decided("-", stdin="\n".join(urls).encode())
    assert [url for url, *_ in found] == urls
    assert {reason for *_, reason in found} == {None, "private"}


@pytest.mark.parametrize("options", [[], ["--resolve"]], ids=["by shape", "resolved"])
def test_each_line_is_answered_before_the_next_one_is_read(options: list[str]) -> None:
    command = [sys.executable, *MODULE, "callbacks", "check", "--json", *options, "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asked:
        assert asked.stdin is not None
        assert asked.stdout is not None
        giving_up = threading.Timer(30, asked.kill)
        giving_up.start()
        for url, decision in [(BAD, "refuse"), ("http://93.184.216.34/", "allow"), ("nonsense", "refuse")]:
            asked.stdin.write(f"{url}\n".encode())
            asked.stdin.flush()
            answer = json.loads(asked.stdout.readline())
            assert (answer["url"], answer["decision"]) == (url, decision)
        asked.stdin.close()
        assert asked.wait() == 1
        giving_up.cancel()
