"""A service that answers side b of A/A runs later: `python -m benchmarks.delayed_service MILLISECONDS`."""

import asyncio
import sys

from aiohttp import web
from aiohttp.typedefs import Handler

from reportsim import app as composition
from reportsim.__main__ import main
from reportsim.benchmark.load.messages import INDEX_HEADER
from reportsim.cli import serve


def delay_side_b(seconds: float) -> None:
    """Has every application that is built hold the answers to side b for so long."""
    build = composition.build_app

    @web.middleware
    async def delay(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.headers.get(INDEX_HEADER, "").startswith("b-"):
            await asyncio.sleep(seconds)
        return response

    def build_delayed(*arguments: object, **options: object) -> web.Application:
        app = build(*arguments, **options)  # type: ignore[arg-type]
        app.middlewares.append(delay)
        return app

    serve.build_app = build_delayed  # type: ignore[attr-defined]


if __name__ == "__main__":
    delay_side_b(float(sys.argv[1]) / 1000)
    sys.exit(main(["serve"]))
