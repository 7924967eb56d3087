"""How many things overlap: connections, queues, workers, from the moments at which each began and ended."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

Span = tuple[float, float]


def spans(starts: Iterable[float], ends: Iterable[float]) -> Iterator[Span]:
    """The pairs whose two moments are known and in order; NaN is unknown."""
    return ((start, end) for start, end in zip(starts, ends, strict=True) if start <= end)


def integral(overlapping: Iterable[Span]) -> float:
    """The area below the number of spans at each moment: the sum of their lengths."""
    return sum(end - start for start, end in overlapping)


def most_at_once(overlapping: Iterable[Span]) -> int:
    """The largest number of spans at any moment; one that ends gives way to one that starts then."""
    pairs = [pair for pair in overlapping if pair[0] < pair[1]]
    changes = sorted([(start, 1) for start, _ in pairs] + [(end, -1) for _, end in pairs])
    return max(accumulate(change for _, change in changes), default=0)


def averages(overlapping: Iterable[Span], step: float, count: int) -> "array[float]":
    """The average number of spans within each of `count` steps from 0 on."""
    cover = array("d", bytes(8 * count))
    # Whole steps are added where they begin and taken away where they end, and summed up at the end.
    whole = array("d", bytes(8 * (count + 1)))
    for start, end in overlapping:
        first, last = int(start / step), int(end / step)
        if first >= count:
            continue
        if last >= count:
            last, end = count - 1, count * step
        if first == last:
            cover[first] += (end - start) / step
            continue
        cover[first] += first + 1 - start / step
        cover[last] += end / step - last
        whole[first + 1] += 1
        whole[last] -= 1
    return array("d", (part + full for part, full in zip(cover, accumulate(whole[:count]), strict=True)))


def counts(moments: Sequence[float], step: float, count: int) -> "array[int]":
    """How many moments fall into each of `count` steps from 0 on; NaN falls into none."""
    found = array("q", bytes(8 * count))
    for moment in moments:
        if 0 <= moment < count * step:
            found[min(int(moment / step), count - 1)] += 1
    return found
