"""Every key under which the application and its requests keep something."""

import asyncio
from typing import Final

from aiohttp import web

from reportsim.engine.engine import Engine
from reportsim.settings import Settings
from reportsim.web.limits import Limits

SETTINGS: Final = web.AppKey("SETTINGS", Settings)
ENGINE: Final = web.AppKey("ENGINE", Engine)
LIMITS: Final = web.AppKey("LIMITS", Limits)
READY: Final = web.AppKey("READY", asyncio.Event)
DRAINING: Final = web.AppKey("DRAINING", asyncio.Event)

REQUEST_ID: Final = web.RequestKey("REQUEST_ID", str)
EXTRA_HEADERS: Final = web.RequestKey("EXTRA_HEADERS", dict[str, str])
