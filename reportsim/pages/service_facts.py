"""What the user of a service needs first: shown on a terminal when it starts, and on the home page."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reportsim.settings import Settings


@dataclass(frozen=True, slots=True)
class ServiceFact:
    """A fact or a command, with a remark."""

    name: str
    text: str
    remark: str = ""


def list_service_facts(settings: Settings, base_url: str) -> Sequence[ServiceFact]:
    """The address, the command that prints the secret, how to lift the limits, and where the data are."""
    start = settings.start_command
    return (
        ServiceFact("page", f"{base_url}/"),
        ServiceFact("API", f"{base_url}/docs"),
        ServiceFact(
            "secret", f"{find_program()} secret", "of callbacks; call it in this folder, with the same settings"
        ),
        ServiceFact("no limits", f"REPORTSIM_SYNC_RATE=0 REPORTSIM_ASYNC_RATE=0 {start}", describe_limits(settings)),
        ServiceFact(
            "own receiver", f"REPORTSIM_CALLBACK_ALLOW=127.0.0.0/8 {start}", "allows callbacks to this machine"
        ),
        ServiceFact("data", str(settings.data_dir.absolute())),
    )


def describe_limits(settings: Settings) -> str:
    """The rate limits as they are now."""
    limits = {"sync": settings.sync_rate, "async": settings.async_rate}
    found = " and ".join(f"{rate} {mode}" for mode, rate in limits.items() if rate)
    return f"now {found} requests a minute and client" if found else "none now"


def find_program() -> str:
    """How `reportsim` is called from the current folder."""
    program = Path(sys.executable).parent / "reportsim"
    folder = Path.cwd()
    return str(program.relative_to(folder) if program.is_relative_to(folder) else program)


def format_service_facts(facts: Sequence[ServiceFact]) -> str:
    """The facts as lines for a terminal."""
    width = max(len(fact.name) for fact in facts)
    lines = (f"  {fact.name:{width}}  {fact.text}" + (f"  ({fact.remark})" if fact.remark else "") for fact in facts)
    return "\n".join(lines) + "\n"
