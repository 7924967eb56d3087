"""The ring: the newest messages, kept for subscribers that resume after one of them."""

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from reportsim.engine.events.messages import OF_MESSAGE, Message, View, render_messages
from reportsim.engine.events.subscriber import PIECE

# Bytes of messages that are kept, and of the messages that were rendered for subscribers that resumed.
MAX_BYTES: Final = 10_000_000
MAX_RENDERED_BYTES: Final = 4_000_000
# Parts that are looked at for one piece before other tasks get their turn.
MAX_PARTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of messages, and the number of the last of them."""

    data: bytes
    position: int


class Ring:
    """The newest messages, as many as have room."""

    def __init__(self) -> None:
        """Makes an empty ring."""
        self.messages: deque[Message] = deque()
        self._rendered: OrderedDict[tuple[int, View], bytes] = OrderedDict()
        self._rendered_bytes = 0

    def extend(self, messages: Iterable[Message]) -> None:
        """Adds messages, and removes the oldest beyond the bound."""
        self.messages.extend(messages)
        kept = sum(message.size for message in self.messages)
        while kept > MAX_BYTES and len(self.messages) > 1:
            kept -= self.messages.popleft().size

    def read_after(self, position: int, view: View) -> Piece | None:
        """The next piece of what a view shows after a message, possibly empty; None when the ring has lost some."""
        if not self.messages or position < self.messages[0].number - 1:
            return None
        data: list[bytes] = []
        size = parts = 0
        for message in itertools.islice(self.messages, position + 1 - self.messages[0].number, None):
            rendered = self._render(message, view)
            if data and size + len(rendered) > PIECE:
                break
            position = message.number
            data.append(rendered)
            size += len(rendered)
            parts += 1 + message.parts
            if size >= PIECE or parts >= MAX_PARTS:
                break
        return Piece(b"".join(data), position)

    def _render(self, message: Message, view: View) -> bytes:
        """A message as a view shows it; the last ones are kept, since subscribers often resume at the same time."""
        key = message.number, view
        if (data := self._rendered.get(key)) is None:
            data = self._rendered[key] = render_messages([message], [view]).get(view, b"")
            self._rendered_bytes += len(data) + OF_MESSAGE
            while self._rendered_bytes > MAX_RENDERED_BYTES and len(self._rendered) > 1:
                self._rendered_bytes -= len(self._rendered.popitem(last=False)[1]) + OF_MESSAGE
        return data
