"""Pages (being written)."""

from aiohttp import web


def setup(app: web.Application) -> None: ...
async def show_home(r: web.Request) -> web.Response:
    return web.Response(text="x")


submit_form = show_request = show_problem = show_home
