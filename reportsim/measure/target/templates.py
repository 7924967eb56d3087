"""Texts of a target file with `${…}` in them, which every request fills in its own way."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

PLACEHOLDER: Final = re.compile(r"\$\{([^}]*)\}")
ENVIRONMENT: Final = "env:"


class TargetError(ValueError):
    """The target file is not what was expected; the message is a line that names the key."""

    def __init__(self, key: str, problem: str) -> None:
        said = f"{key}: {problem}"
        super().__init__("".join(each if each.isprintable() else repr(each)[1:-1] for each in said))


@dataclass(frozen=True, slots=True)
class Template:
    """A text whose placeholders are known; those of the environment have been filled, and are never shown."""

    raw: str
    """As it stands in the file, to be shown."""
    literals: tuple[str, ...]
    names: tuple[str, ...]
    """The placeholders between the literals, of which there is one more."""

    def fill(self, values: Mapping[str, str], escape: Callable[[str], str] = str) -> str:
        """The text with the values of one request, each escaped for its surroundings."""
        if not self.names:
            return self.literals[0]
        filled = [self.literals[0]]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            filled += (escape(values[name]), literal)
        return "".join(filled)


def parse_template(
    key: str, raw: str, environ: Mapping[str, str], allowed: tuple[str, ...], escape: Callable[[str], str] = str
) -> Template:
    """Reads a text; `escape` is for values of the environment.

    Raises:
        TargetError: A placeholder is unknown here, or the environment has no such variable.
    """
    first, *rest = PLACEHOLDER.split(raw)
    literals, names = [first], []
    for name, literal in zip(rest[::2], rest[1::2], strict=True):
        if name.startswith(ENVIRONMENT):
            variable = name.removeprefix(ENVIRONMENT)
            if variable not in environ:
                raise TargetError(key, f"the environment has no variable {variable or '(without a name)'}")
            literals[-1] += escape(environ[variable]) + literal
        elif name in allowed:
            names.append(name)
            literals.append(literal)
        else:
            known = ", ".join(f"${{{each}}}" for each in (*allowed, "env:NAME"))
            raise TargetError(key, f"${{{name}}} is not known here; known are {known}")
    return Template(raw, tuple(literals), tuple(names))
