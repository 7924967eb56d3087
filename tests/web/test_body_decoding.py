"""Compressed bodies: decoded within their bound, whoever compressed them, and never more than that."""

import gzip
import tracemalloc
import zlib

import pytest

from reportsim.core.problems import Problem
from reportsim.web.body import decode

MOST = 64 * 1024
TEXT = b'{"ledger": "tiny"}'


def bare_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize("content", [b"", TEXT, b"x" * MOST], ids=["empty", "small", "largest"])
def test_what_senders_make_is_read(content: bytes) -> None:
    assert decode(content, "", MOST) == decode(content, "identity", MOST) == content
    assert decode(gzip.compress(content), "gzip", MOST) == content
    assert decode(gzip.compress(content[:7]) + gzip.compress(content[7:]), "gzip", MOST) == content
    assert decode(zlib.compress(content), "deflate", MOST) == content
    assert decode(bare_deflate(content), "deflate", MOST) == content


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_of_no_encoding_is_malformed(encoding: str) -> None:
    whole = gzip.compress(TEXT) if encoding == "gzip" else zlib.compress(TEXT)
    for raw in (TEXT, whole[:-1], whole[: len(whole) // 2], whole + b"more", b"\x00" * 9):
        with pytest.raises(Problem) as refused:
            decode(raw, encoding, MOST)
        assert refused.value.status == 400


@pytest.mark.parametrize("size", [MOST + 1, 60_000_000])
def test_a_bomb_is_refused_before_it_is_whole(size: int) -> None:
    content = b" " * size
    bombs = {"gzip": [gzip.compress(content)], "deflate": [zlib.compress(content), bare_deflate(content)]}
    many = gzip.compress(b"") * 3_000 + gzip.compress(content)
    bombs["gzip"].append(many)
    for encoding, raws in bombs.items():
        for raw in raws:
            tracemalloc.start()
            with pytest.raises(Problem) as refused:
                decode(raw, encoding, MOST)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert refused.value.status == 413
            assert peak < 8 * MOST
