"""The keys of the application and its requests that several packages use."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from reportsim.benchmark.active_run import RunRequest
from reportsim.benchmark.plug import Plug
from reportsim.benchmark.runner import Runner
from reportsim.core.model import Request
from reportsim.engine.engine import Engine
from reportsim.processes.member import Member
from reportsim.settings import Settings

SETTINGS: Final = web.AppKey("SETTINGS", Settings)
MEMBER: Final = web.AppKey("MEMBER", Member)
ENGINE: Final = web.AppKey("ENGINE", Engine)
PLUG: Final = web.AppKey("PLUG", Plug)
RUNNER: Final = web.AppKey("RUNNER", Runner)
READY: Final = web.AppKey("READY", asyncio.Event)
DRAINING: Final = web.AppKey("DRAINING", asyncio.Event)
FAILED: Final = web.AppKey("FAILED", asyncio.Event)

REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)
ROW: Final = web.RequestKey("ROW", Request)
"""What a request is about, for its line in the access log."""
VISIT: Final = web.RequestKey[RunRequest | None]("VISIT")
EXTRA_HEADERS: Final = web.RequestKey("EXTRA_HEADERS", Mapping[str, str])
STARTED_RESPONSE: Final = web.RequestKey("STARTED_RESPONSE", web.StreamResponse)
