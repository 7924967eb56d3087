"""Reads JSON bodies the way a careful service does: bounded in size, time and depth, and never ambiguous."""

import asyncio
import zlib
from typing import Final

from aiohttp import hdrs, web

from reportsim.core.problems import Problem

MAX_BODY_BYTES: Final = 64 * 1024
ENCODINGS: Final = frozenset({"identity", "gzip", "deflate"})
READ_TIMEOUT_S: Final = 10.0


async def read_json(request: web.Request) -> bytes:
    """The bytes of a JSON body, empty when there is none.

    Raises:
        Problem: 400, 408, 413 or 415, whatever is wrong with the body.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in ENCODINGS:
        raise Problem(
            "unsupported-media-type",
            "Send the body as it is, or as gzip.",
            headers={hdrs.ACCEPT_ENCODING: "gzip, deflate"},
        )
    raw = await read_body(request)
    if raw and (request.content_type != "application/json" or not is_utf8(request.charset)):
        raise Problem(
            "unsupported-media-type", "Send application/json in UTF-8.", headers={"Accept-Post": "application/json"}
        )
    return raw


def is_utf8(charset: str | None) -> bool:
    """Whether a charset parameter names UTF-8, or nothing."""
    return charset is None or charset.lower() in {"utf-8", "utf8"}


async def read_body(request: web.Request, most: int = MAX_BODY_BYTES) -> bytes:
    """The bytes of the body, within bounds of size and time."""
    if (request.content_length or 0) > most:
        raise body_too_large(most)
    try:
        if request.content.is_eof():
            raw = await request.read()
        else:
            async with asyncio.timeout(READ_TIMEOUT_S):
                raw = await request.read()
    except TimeoutError:
        raise Problem(
            "request-timeout", "The body did not arrive in time.", headers={hdrs.CONNECTION: "close"}
        ) from None
    except web.HTTPRequestEntityTooLarge:
        raise body_too_large(most) from None
    except web.RequestPayloadError:
        raise undecodable_body() from None
    if len(raw) > most:
        raise body_too_large(most)
    return decode(raw, request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower(), most)


def decode(raw: bytes, encoding: str, most: int) -> bytes:
    """A body as it was before its sender compressed it; no more of it is made than may be.

    Raises:
        Problem: 400 for what is not of that encoding, 413 for what is too much.
    """
    if not raw or encoding not in {"gzip", "deflate"}:
        return raw
    # Some senders leave out the two bytes in which zlib's header says what follows.
    bare = encoding == "deflate" and raw[0] & 0x0F != zlib.DEFLATED
    content = b""
    try:
        while raw:
            stream = zlib.decompressobj(31 if encoding == "gzip" else -zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
            content += stream.decompress(raw, most + 1 - len(content))
            if len(content) > most:
                raise body_too_large(most)
            if not stream.eof:
                raise undecodable_body()
            raw = stream.unused_data
    except zlib.error:
        raise undecodable_body() from None
    return content


def undecodable_body() -> Problem:
    """The 400 for a body that its headers describe wrongly."""
    return Problem(
        "malformed-request", "The body cannot be decoded as its headers say.", headers={hdrs.CONNECTION: "close"}
    )


def body_too_large(most: int) -> Problem:
    """The 413; the connection is closed, since the rest of the body is not read."""
    return Problem("too-large", f"A body has at most {most:,} bytes.", headers={hdrs.CONNECTION: "close"})
