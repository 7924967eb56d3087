"""`reportsim callbacks check`: says which URLs may be called back, and why not the others."""

import argparse
import itertools
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from reportsim.core.addresses import AllowList
from reportsim.core.callback_urls import CallbackTarget, Refusal, check_dial, check_url
from reportsim.settings import Settings

STDIN: Final = "-"
LOOKUPS: Final = 32
DESCRIPTION: Final = """
Says of each URL whether it may be called back, by its shape and literal address alone: nothing is looked up or
connected to. REPORTSIM_CALLBACK_ALLOW is taken into account. A running service also allows its own demo receiver.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the verb's own verb."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say of each URL: allow, or refuse and why", description=DESCRIPTION)
    check.add_argument(
        "urls", nargs="+", metavar="URL", help="a URL; - reads one a line from standard input, as it is up to the LF"
    )
    check.add_argument(
        "--json",
        action="store_true",
        help='print an object a line: {"url", "decision", "reason"}, reason null if allowed',
    )
    check.add_argument("--resolve", action="store_true", help="look names up, too, and check every address")
    check.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints one line for each URL."""
    allow = Settings.from_environment().callback_allow
    judge = resolved if options.resolve else check_url
    write = as_json if options.json else as_text
    try:
        for url, verdict in judged(given(options.urls), allow, judge, at_once=LOOKUPS if options.resolve else 1):
            line = write(url, verdict) + "\n"
            sys.stdout.buffer.write(line.encode(sys.stdout.encoding, "backslashreplace"))
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Who read has seen enough; the interpreter must not try to flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def given(arguments: Iterable[str]) -> Iterator[str]:
    """The URLs as they were given, byte for byte; a byte that is not UTF-8 becomes a lone surrogate."""
    for argument in arguments:
        if argument == STDIN:
            yield from (line.removesuffix(b"\n").decode("utf-8", "surrogateescape") for line in sys.stdin.buffer)
        else:
            yield os.fsencode(argument).decode("utf-8", "surrogateescape")


Verdict = CallbackTarget | Refusal


def judged(
    urls: Iterator[str], allow: AllowList, judge: Callable[[str, AllowList], Verdict], *, at_once: int
) -> Iterator[tuple[str, Verdict]]:
    """Each URL with its verdict, in their order; some at once where that takes time."""
    if at_once == 1:
        yield from ((url, judge(url, allow)) for url in urls)
        return
    with ThreadPoolExecutor(at_once) as pool:
        while some := list(itertools.islice(urls, at_once)):
            yield from zip(some, pool.map(lambda url: judge(url, allow), some), strict=True)


def resolved(url: str, allow: AllowList) -> Verdict:
    """The verdict once a name has been looked up: every address that it leads to must be allowed."""
    target = check_url(url, allow)
    if isinstance(target, Refusal) or target.address is not None:
        return target
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Refusal("dns", "The host name could not be resolved.")
    for *_, where in found:
        address = f"{where[0]}%{where[3]}" if len(where) > 3 and where[3] else str(where[0])
        if refusal := check_dial(address, target.port, target, allow):
            return refusal
    return target


def as_json(url: str, verdict: Verdict) -> str:
    """A verdict for programs."""
    refusal = verdict if isinstance(verdict, Refusal) else None
    return json.dumps(
        {
            "url": readable(url),
            "decision": "refuse" if refusal else "allow",
            "reason": refusal.reason if refusal else None,
        }
    )


def as_text(url: str, verdict: Verdict) -> str:
    """A verdict for people; what cannot be printed is escaped."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in readable(url)
    )
    if isinstance(verdict, Refusal):
        return f"refuse  {shown}  {verdict.reason}: {verdict.detail}"
    return f"allow   {shown}"


def readable(url: str) -> str:
    """A URL as valid Unicode."""
    return url.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
