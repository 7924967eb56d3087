"""`reportsim callbacks check`: says which URLs may be called back, and why not the others."""

import argparse
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from reportsim.core.callback_policy.addresses import AllowList
from reportsim.core.callback_policy.urls import CallbackTarget, Refusal, check_dial, check_url
from reportsim.engine.delivery.name_lookup import address_of, look_up
from reportsim.settings import Settings

STDIN: Final = "-"
LOOKUPS: Final = 32
DESCRIPTION: Final = """
Says of each URL whether it may be called back, by its shape and literal address alone: nothing is looked up or
connected to. REPORTSIM_CALLBACK_ALLOW is taken into account. A running service also allows its own demo receiver.
The exit code is 0 when all of them may be called, 1 when any is refused.
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
    """Prints one line for each URL; the exit code is 1 when any is refused."""
    refused = 0
    allow = Settings.from_environment().callback_policy
    write = as_json if options.json else as_text

    def say(url: str, verdict: Verdict) -> None:
        nonlocal refused
        refused += isinstance(verdict, Refusal)
        line = write(url, verdict) + "\n"
        sys.stdout.buffer.write(line.encode(sys.stdout.encoding, "backslashreplace"))
        sys.stdout.buffer.flush()

    try:
        if options.resolve:
            resolve_each(iterate_urls(options.urls), allow, say)
        else:
            for url in iterate_urls(options.urls):
                say(url, check_url(url, allow))
    except BrokenPipeError:
        # Who read has seen enough; the interpreter must not try to flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1 if refused else 0


def iterate_urls(arguments: Iterable[str]) -> Iterator[str]:
    """The URLs as they were given, byte for byte; a byte that is not UTF-8 becomes a lone surrogate."""
    for argument in arguments:
        if argument == STDIN:
            yield from (line.removesuffix(b"\n").decode("utf-8", "surrogateescape") for line in sys.stdin.buffer)
        else:
            yield os.fsencode(argument).decode("utf-8", "surrogateescape")


Verdict = CallbackTarget | Refusal


def resolve_each(urls: Iterable[str], allow: AllowList, say: Callable[[str, Verdict], None]) -> None:
    """Says the verdict of each URL as soon as it and those before it are known, whenever the next one is read."""
    said: deque[Future[None]] = deque()

    def tell(url: str, verdict: Future[Verdict]) -> None:
        say(url, verdict.result())

    with ThreadPoolExecutor(LOOKUPS) as lookups, ThreadPoolExecutor(1) as speaker:
        for url in urls:
            verdict = lookups.submit(resolve, url, allow)
            said.append(speaker.submit(tell, url, verdict))
            while said and (len(said) >= LOOKUPS or said[0].done()):
                said.popleft().result()
        for each in said:
            each.result()


def resolve(url: str, allow: AllowList) -> Verdict:
    """The verdict once a name has been looked up: every address that it leads to must be allowed."""
    target = check_url(url, allow)
    if isinstance(target, Refusal) or target.address is not None:
        return target
    try:
        found = look_up(target.host)
    except OSError:
        return Refusal("dns", "The host name could not be resolved.")
    for *_, where in found:
        if refusal := check_dial(address_of(where), target.port, target, allow):
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
