"""The metrics of a service that has several processes: whichever is asked asks the others."""

import asyncio
from collections.abc import Iterable
from typing import Final

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from reportsim.processes.member import Member

TIMEOUT_S: Final = 1.0
MAX_BYTES: Final = 4_000_000
HELP: Final = b"# HELP "


def is_private(request: web.Request, member: Member) -> bool:
    """Whether a request has come to the private address of this process."""
    address = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return address is not None and tuple(address[:2]) == member.private_addresses[member.index]


async def ask_others(request: web.Request, member: Member) -> list[bytes]:
    """The metrics of the other processes, as far as they respond in time."""
    # Who may read the metrics may read those of all processes.
    headers = {name: request.headers[name] for name in (hdrs.AUTHORIZATION,) if name in request.headers}
    others = [address for index, address in enumerate(member.private_addresses) if index != member.index]
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=False) as session:
        answers = await asyncio.gather(*(ask(session, *address) for address in others))
    return [answer for answer in answers if answer]


async def ask(session: aiohttp.ClientSession, host: str, port: int) -> bytes:
    """The metrics of one process; empty if it does not respond in time."""
    try:
        async with session.get(URL.build(scheme="http", host=host, port=port, path="/metrics")) as response:
            return await response.content.readexactly(response.content_length or 0) if is_usable(response) else b""
    except (aiohttp.ClientError, OSError, TimeoutError, EOFError):
        return b""


def is_usable(response: aiohttp.ClientResponse) -> bool:
    """Whether a response has metrics, and not too many."""
    return response.status == 200 and (response.content_length or 0) <= MAX_BYTES


def merge_expositions(texts: Iterable[bytes]) -> bytes:
    """Several texts as one, in which all samples of a metric are together, as the format demands."""
    families: dict[bytes, list[bytes]] = {}
    for text in texts:
        for part in text.split(HELP)[1:]:
            comments, samples = split_comments(part)
            families.setdefault(comments, []).append(samples)
    return b"".join(HELP + comments + b"".join(samples) for comments, samples in families.items())


def split_comments(family: bytes) -> tuple[bytes, bytes]:
    """The two lines of comments of a metric, and its samples."""
    about, _, rest = family.partition(b"\n")
    kind, _, samples = rest.partition(b"\n")
    return about + b"\n" + kind + b"\n", samples
