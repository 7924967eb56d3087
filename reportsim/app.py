"""The composition root: what the application is made of, and in which order it starts and stops."""

import asyncio

from aiohttp import web

from reportsim.api import benchmarks, callbacks, events, reports, requests, submissions
from reportsim.api import health as ops
from reportsim.api.metrics import METRICS, Metrics, lag_context, measure, show_metrics
from reportsim.api.openapi import page as docs
from reportsim.api.unknown_parameters import check_query
from reportsim.benchmark.runner import Runner
from reportsim.core.clock import Clock, SystemClock
from reportsim.demo_receiver import handlers as receiver
from reportsim.demo_receiver import inboxes
from reportsim.engine.engine import Engine
from reportsim.lifecycle import drain, engine_context, pools_context
from reportsim.pages import benchmarks as benchmark_pages
from reportsim.pages import home, problem, request, templating
from reportsim.settings import Settings
from reportsim.store.pool import create_pool, share_connections
from reportsim.web.keys import (
    DOWNLOAD_PLACES,
    DRAINING,
    ENGINE,
    EXPORT_PLACES,
    FAILED,
    LIMITS,
    READY,
    RUNNER,
    SETTINGS,
    STREAM_PLACES,
    SYNC_PLACES,
    TRUSTED,
)
from reportsim.web.middleware import (
    answer_problems,
    check_origin,
    finish_headers,
    identify,
    refuse_new_work,
    refuse_own_callbacks,
)
from reportsim.web.rate_limit import Limits, Places, parse_networks
from reportsim.web.request_head import bound_headers


def build_app(settings: Settings, *, clock: Clock | None = None) -> web.Application:
    """The whole service; `settings.database_url` must be given."""
    dsn = settings.database_url or ""
    shares = share_connections(dsn, settings.pool_size)
    pool = create_pool(dsn, size=shares.clients, statement_cache=settings.statement_cache)
    engine = Engine(settings=settings, dsn=dsn, pool=pool, clock=clock or SystemClock())
    collected = Metrics(engine)
    app = web.Application(
        middlewares=[
            identify(),
            measure(collected),
            answer_problems(templating.answer_problem),
            bound_headers(),
            check_origin(settings),
            refuse_new_work(),
            refuse_own_callbacks(),
            check_query(),
        ],
        client_max_size=1024 * 1024,
    )
    app[SETTINGS] = settings
    app[ENGINE] = engine
    app[RUNNER] = Runner(engine)
    app[METRICS] = collected
    app[LIMITS] = Limits({"sync": settings.sync_rate, "async": settings.async_rate})
    app[SYNC_PLACES] = Places("sync requests", settings.sync_max)
    app[STREAM_PLACES] = Places("event streams", events.MOST_STREAMS, settings.streams_per_client)
    app[DOWNLOAD_PLACES] = Places("downloads", reports.MOST_DOWNLOADS, reports.MOST_DOWNLOADS_EACH)
    app[EXPORT_PLACES] = Places("exports", benchmarks.MOST_EXPORTS, benchmarks.MOST_EXPORTS_EACH)
    app[TRUSTED] = parse_networks(settings.trusted_proxies)
    app[READY] = asyncio.Event()
    app[DRAINING] = asyncio.Event()
    app[FAILED] = asyncio.Event()
    app[inboxes.INBOXES] = inboxes.Inboxes()

    app.on_response_prepare.append(finish_headers)
    app.on_shutdown.append(drain)
    app.cleanup_ctx.append(lag_context)
    app.cleanup_ctx.append(pools_context)
    app.cleanup_ctx.append(engine_context)
    home.setup(app)
    benchmark_pages.setup(app)
    docs.setup(app)
    add_routes(app)
    return app


def add_routes(app: web.Application) -> None:
    """The service's index."""
    app.add_routes(
        [
            web.post("/api/sync", submissions.create_sync),
            web.post("/api/async", submissions.create_async),
            web.get("/api/requests", requests.list_requests),
            web.get("/api/requests/{id:[0-9a-fA-F-]{36}}", requests.get_request),
            web.post("/api/requests/{id}/cancel", requests.cancel_request),
            web.post("/api/requests/{id}/redeliver", requests.redeliver),
            web.post("/api/requests/redeliver", callbacks.redeliver_many),
            web.get("/api/requests/{id}/callback-logs", requests.get_callback_logs),
            web.get("/api/reports/{file}", reports.download),
            web.get("/api/ledgers", requests.list_ledgers),
            web.get("/api/events", events.stream_events),
            web.post("/api/callbacks/simulate-failures", submissions.simulate_failures),
            web.post("/api/benchmark/both", benchmarks.create_benchmark),
            web.get("/api/benchmark", benchmarks.list_benchmarks),
            web.get("/api/benchmark/{id:[0-9a-fA-F-]{36}}", benchmarks.get_benchmark),
            web.get("/api/benchmark/{id}/comparison", benchmarks.compare_benchmarks),
            web.post("/api/benchmark/{id}/cancel", benchmarks.cancel_benchmark),
            web.get("/api/benchmark/{id}/report.html", benchmarks.show_report),
            web.get("/api/benchmark/{id}/samples.csv", benchmarks.download_samples),
            web.post("/webhook-test/{inbox}", receiver.receive),
            web.get("/webhook-test/{inbox}", receiver.show_inbox),
            web.get("/", home.show_home),
            web.post("/", home.submit_form),
            web.get("/requests/{id}", request.show_request),
            web.post("/requests/{id}/cancel", request.cancel_request),
            web.post("/requests/{id}/again", request.repeat_request),
            web.post("/requests/{id}/redeliver", request.redeliver_callback),
            web.get("/benchmarks", benchmark_pages.show_benchmarks),
            web.post("/benchmarks", benchmark_pages.submit_form),
            web.get("/benchmarks/prediction", benchmark_pages.show_prediction),
            web.get("/benchmarks/compare", benchmark_pages.compare_runs),
            web.get("/benchmarks/{id}", benchmark_pages.show_benchmark),
            web.post("/benchmarks/{id}/cancel", benchmark_pages.cancel_run),
            web.get("/problems/{slug}", problem.show_problem),
            web.get("/docs", docs.show_docs),
            web.get("/openapi.json", docs.show_document),
            web.get("/healthz", ops.healthz),
            web.get("/readyz", ops.readyz),
            web.get("/metrics", show_metrics),
        ]
    )
