"""GET /api/ledgers: the ledgers that reports can be made of."""

from aiohttp import web

from reportsim.web.keys import ENGINE
from reportsim.web.responses import json_response


async def list_ledgers(request: web.Request) -> web.Response:
    """Every ledger with its window and size."""
    ledgers = await request.app[ENGINE].ledgers.all()
    return json_response({"items": [ledger.as_json() for ledger in ledgers]})
