"""What a person at a terminal needs once the service is ready."""

import sys

from reportsim.pages.service_facts import format_service_facts, list_service_facts
from reportsim.settings import Settings


def print_service_facts(settings: Settings, base_url: str) -> None:
    """Prints the address, the secret's command, the limits and the data folder, if somebody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(format_service_facts(list_service_facts(settings, base_url)))
