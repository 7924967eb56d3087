"""GET /healthz and /readyz: liveness and readiness checks."""

from aiohttp import web

from reportsim.web.keys import DRAINING, ENGINE, FAILED, READY
from reportsim.web.readiness import check_database
from reportsim.web.responses import json_response


async def healthz(request: web.Request) -> web.Response:
    """Responds as long as the event loop runs; nothing else is checked."""
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether the service can take work: database, migrations, workers, report files, not stopping."""
    database, migrations = await check_database(request)
    checks = {
        "database": database,
        "migrations": migrations,
        # A background task that ends unexpectedly drains the workers, then stops the service.
        "workers": request.app[READY].is_set() and not request.app[FAILED].is_set(),
        "report_files": request.app[ENGINE].files.is_writable(),
        "accepting": not (request.app[DRAINING].is_set() or request.app[ENGINE].worker.draining),
    }
    ready = all(checks.values())
    failing = [name for name, ok in checks.items() if not ok]
    body = {"status": "ready" if ready else "not ready", "checks": checks, "failing": failing}
    return json_response(body, status=200 if ready else 503, headers={} if ready else {"Retry-After": "1"})
