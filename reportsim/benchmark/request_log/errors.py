"""What is wrong with a log."""

LONGEST_EXCERPT = 40


class LineError(ValueError):
    """A line is not what was expected."""


class LogError(ValueError):
    """The log cannot be used; the message names the line, if there is one to blame."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")


def excerpt(text: str) -> str:
    """The beginning of a text as a message quotes it, without control characters."""
    shown = "".join(character if character.isprintable() else "�" for character in text[:LONGEST_EXCERPT])
    return f"“{shown}{'…' if len(text) > LONGEST_EXCERPT else ''}”"
