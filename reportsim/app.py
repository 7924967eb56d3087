"""The composition root: what the application is made of, and the index of its routes."""

import asyncio
import uuid
from importlib import resources

from aiohttp import web
from aiohttp.typedefs import Middleware

from reportsim import __version__
from reportsim.api import benchmarks, callbacks, events, health, ledgers, reports, requests, submissions
from reportsim.api.metrics import METRICS, Metrics, lag_context, show_metrics
from reportsim.api.openapi import page as openapi_page
from reportsim.api.unknown_parameters import refuse_unknown_parameters
from reportsim.benchmark.plug import Plug
from reportsim.benchmark.runner import Runner
from reportsim.core.clock import Clock, SystemClock
from reportsim.core.problems import unavailable
from reportsim.demo_receiver import handlers as demo_receiver
from reportsim.demo_receiver.inboxes import INBOXES, Inboxes
from reportsim.engine.engine import Engine
from reportsim.lifecycle import drain, engine_context, pools_context
from reportsim.pages import benchmarks as benchmark_pages
from reportsim.pages import home, problem, request
from reportsim.pages.assets import ASSETS, Assets, send_asset, send_icon
from reportsim.pages.endpoint import handlers as endpoint
from reportsim.pages.filters import COUNTS, FILTERS
from reportsim.pages.race import handlers as race
from reportsim.pages.statement import handlers as statement_pages
from reportsim.processes.buckets import BucketTable
from reportsim.processes.member import Member
from reportsim.settings import Settings
from reportsim.store.pool import create_pool, name_sessions, share_connections
from reportsim.web import templating
from reportsim.web.keys import DRAINING, ENGINE, FAILED, MEMBER, PLUG, READY, RUNNER, SETTINGS
from reportsim.web.limits import concurrency_limit
from reportsim.web.limits.client_address import TRUSTED_PROXIES, parse_networks
from reportsim.web.limits.rate_limit import RATE_LIMITS, RateLimits
from reportsim.web.middleware.admission import refuse_new_work, refuse_own_callback
from reportsim.web.middleware.handling import handle_requests
from reportsim.web.middleware.origin import check_origin
from reportsim.web.middleware.response_headers import add_headers
from reportsim.web.server.handover import belongs_to_first
from reportsim.web.server.request_head import refuse_long_headers


def build_app(
    settings: Settings, *, clock: Clock | None = None, member: Member | None = None, demonstration: bool = False
) -> web.Application:
    """The whole service, or one process of several; `settings.database_url` must be given.

    A service for `demonstration` lets all clients pull the plug.
    """
    sessions = f"reportsim-{uuid.uuid4().hex}"
    dsn = settings.database_url or ""
    dsn = name_sessions(dsn, sessions) if demonstration else dsn
    shares = share_connections(dsn, settings.pool_size)
    pool = create_pool(dsn, size=shares.clients, statement_cache=settings.statement_cache)
    engine = Engine(settings=settings, dsn=dsn, pool=pool, clock=clock or SystemClock(), member=member)
    metrics = Metrics(engine)
    app = web.Application(middlewares=[build_middleware(settings, metrics)], client_max_size=1024 * 1024)
    app[SETTINGS] = settings
    if member is not None:
        app[MEMBER] = member
    app[ENGINE] = engine
    app[RUNNER] = Runner(engine)
    if demonstration:
        app[PLUG] = Plug(engine, dsn, sessions)
    app[METRICS] = metrics
    app[READY] = asyncio.Event()
    app[DRAINING] = asyncio.Event()
    app[FAILED] = asyncio.Event()
    app[INBOXES] = Inboxes()
    add_limits(app, settings, member)

    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(drain)
    app.cleanup_ctx.append(lag_context)
    app.cleanup_ctx.append(pools_context)
    app.cleanup_ctx.append(engine_context)
    home.setup(app)
    benchmark_pages.setup(app)
    add_templates(app, settings)
    openapi_page.setup(app)
    app.add_routes(all_routes() if member is None or member.is_first else map(leave_to_first, all_routes()))
    return app


def build_middleware(settings: Settings, metrics: Metrics) -> Middleware:
    """What every request passes through; its checks in this order."""
    checks = (
        refuse_long_headers,
        check_origin(settings),
        refuse_new_work,
        refuse_own_callback,
        refuse_unknown_parameters,
    )
    return handle_requests(checks, render=templating.respond_with_problem, observe=metrics.observe)


def add_limits(app: web.Application, settings: Settings, member: Member | None) -> None:
    """Adds the limits on rates and on concurrency, and the proxies that may name the client."""
    table = BucketTable(None if member is None else member.memory)
    limits = app[RATE_LIMITS] = RateLimits({"sync": settings.sync_rate, "async": settings.async_rate}, table)
    consumption = app[ENGINE].consumption
    limits.on_use = consumption.add
    if member is None or member.is_first:
        consumption.on_heard = limits.add
    concurrency_limit.setup(app, sync=settings.sync_max, streams_per_client=settings.streams_per_client)
    app[TRUSTED_PROXIES] = parse_networks(settings.trusted_proxies)


def add_templates(app: web.Application, settings: Settings) -> None:
    """Adds the static files and the templates that refer to them."""
    app[ASSETS] = assets = Assets(resources.files("reportsim") / "static", reload=settings.debug)
    variables = {
        "static": assets.url,
        "vendored_file": assets.vendored_file,
        "version": __version__,
        "COUNTS": COUNTS,
        "has_plug": PLUG in app,
    }
    templating.setup(app, filters=FILTERS, variables=variables, reload=settings.debug)


def all_routes() -> list[web.RouteDef]:
    """Every route of the service."""
    return [*api_routes(), *page_routes(), *operations_routes()]


def leave_to_first(route: web.RouteDef) -> web.RouteDef:
    """A route of a process that is not the first: what only that one has is refused here.

    A request for it is usually handed over before it is parsed. It is not while the service stops, while the first
    process takes no more, and for a client that sends it before it has read the response to another.
    """
    if not belongs_to_first(route.path):
        return route

    async def refuse(request: web.Request) -> web.StreamResponse:
        raise unavailable("The process that has this takes no more connections at the moment.")

    return web.RouteDef(route.method, route.path, refuse, route.kwargs)


def api_routes() -> list[web.RouteDef]:
    """The JSON endpoints, and the demo receiver of callbacks."""
    return [
        web.post("/api/sync", submissions.create_sync),
        web.post("/api/async", submissions.create_async),
        web.get("/api/requests", requests.list_requests),
        web.get("/api/requests/{id:[0-9a-fA-F-]{36}}", requests.get_request),
        web.post("/api/requests/{id}/cancel", requests.cancel_request),
        web.post("/api/requests/{id}/redeliver", requests.redeliver),
        web.post("/api/requests/redeliver", callbacks.redeliver_many),
        web.get("/api/requests/{id}/callback-logs", requests.get_callback_logs),
        web.get("/api/reports/{file}", reports.download),
        web.get("/api/ledgers", ledgers.list_ledgers),
        web.get("/api/events", events.stream_events),
        web.post("/api/callbacks/simulate-failures", submissions.simulate_failures),
        web.post("/api/benchmark/both", benchmarks.create_benchmark),
        web.get("/api/benchmark", benchmarks.list_benchmarks),
        web.get("/api/benchmark/{id:[0-9a-fA-F-]{36}}", benchmarks.get_benchmark),
        web.get("/api/benchmark/{id}/comparison", benchmarks.compare_benchmarks),
        web.post("/api/benchmark/{id}/cancel", benchmarks.cancel_benchmark),
        web.get("/api/benchmark/{id}/report.html", benchmarks.show_report),
        web.get("/api/benchmark/{id}/replay.html", benchmarks.download_replay),
        web.get("/api/benchmark/{id}/samples.csv", benchmarks.download_samples),
        web.get("/api/benchmark/{id}/percentiles.hgrm", benchmarks.download_percentiles),
        web.post("/webhook-test/{inbox}", demo_receiver.receive),
        web.get("/webhook-test/{inbox}", demo_receiver.show_inbox),
    ]


def page_routes() -> list[web.RouteDef]:
    """The HTML pages, their forms, and the static files."""
    return [
        web.get("/", home.show_home),
        web.post("/", home.submit_form),
        web.get("/requests/{id}", request.show_request),
        web.post("/requests/{id}/cancel", request.cancel_request),
        web.post("/requests/{id}/again", request.repeat_request),
        web.post("/requests/{id}/redeliver", request.redeliver_callback),
        web.post("/requests/{id}/entries", statement_pages.request_entries),
        web.get("/benchmarks", benchmark_pages.show_benchmarks),
        web.post("/benchmarks", benchmark_pages.submit_form),
        web.get("/benchmarks/prediction", benchmark_pages.show_prediction),
        web.get("/benchmarks/compare", benchmark_pages.compare_runs),
        web.get("/benchmarks/{id}", benchmark_pages.show_benchmark),
        web.post("/benchmarks/{id}/plug", race.pull_plug),
        web.post("/benchmarks/{id}/cancel", benchmark_pages.cancel_run),
        web.get("/predict", endpoint.show_form),
        web.post("/predict", endpoint.submit_form),
        web.get("/problems/{slug}", problem.show_problem),
        web.get("/static/{digest}/{name:.+}", send_asset),
        web.get("/favicon.ico", send_icon),
    ]


def operations_routes() -> list[web.RouteDef]:
    """The documentation of the API, health checks and metrics."""
    return [
        web.get("/docs", openapi_page.show_docs),
        web.get("/openapi.json", openapi_page.show_document),
        web.get("/healthz", health.healthz),
        web.get("/readyz", health.readyz),
        web.get("/metrics", show_metrics),
    ]
