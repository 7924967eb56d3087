"""GET /metrics: the metrics for Prometheus, collected on each scrape."""

import asyncio
import contextlib
import itertools
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from reportsim import __version__
from reportsim.api.process_metrics import ask_others, is_private, merge_expositions
from reportsim.core.problems import KINDS
from reportsim.engine.engine import Engine
from reportsim.store.pool import OUTAGES
from reportsim.store.queue_stats import Backlog, backlog
from reportsim.tasks import in_background
from reportsim.web.keys import FAILED, MEMBER

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BOUNDS: Final = (*map(floatToGoString, BUCKETS), "+Inf")
LABELS: Final = ("method", "route", "status")
STATUSES: Final = frozenset({200, 202, 206, 303, 304, 499, *(kind.status for kind in KINDS.values())})
SAMPLES_AT_ONCE: Final = 500
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OF_THE_DATABASE: Final = frozenset({"reportsim_jobs", "reportsim_queue_age_seconds", "reportsim_callbacks_due"})
UNMATCHED: Final = "unmatched"
LAG_EVERY_S: Final = 0.1


class LoopLag:
    """The lag of the event loop: the maximum of the last whole second, and since the start."""

    def __init__(self) -> None:
        """Starts at 0 until `run` measures."""
        self.seconds = 0.0
        self.max_seconds = 0.0

    async def run(self) -> None:
        """Measures how late the loop wakes up from short sleeps."""
        loop = asyncio.get_running_loop()
        worst, ends = 0.0, loop.time() + 1
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            worst = max(worst, loop.time() - due)
            self.max_seconds = max(self.max_seconds, worst)
            if loop.time() >= ends:
                self.seconds, worst, ends = worst, 0.0, loop.time() + 1


class EngineCollector(Collector):
    """Reads the counters of the engine on each scrape."""

    def __init__(self, engine: Engine, lag: LoopLag) -> None:
        """Takes what to read; `backlog` is set before each scrape."""
        self._engine = engine
        self._lag = lag
        self.backlog: Backlog | None = None

    def collect(self) -> Iterable[Metric]:
        """All metrics except those of HTTP responses."""
        engine = self._engine
        yield labelled_gauge("reportsim_build_info", "Version of this build.", "version", {__version__: 1})
        yield gauge("reportsim_worker_slots", "Worker slots.", engine.slots.width)
        yield gauge("reportsim_worker_slots_busy", "Worker slots in use.", engine.slots.busy)
        yield gauge("reportsim_sse_subscribers", "Open event streams.", engine.hub.subscribers)
        yield gauge("reportsim_event_loop_lag_seconds", "Worst lag of the last second.", self._lag.seconds)
        yield gauge("reportsim_event_loop_lag_seconds_max", "Worst lag since the start.", self._lag.max_seconds)
        yield gauge("reportsim_database_pool_size", "Connections in the pool.", engine.pool.get_size())
        yield gauge("reportsim_database_pool_idle", "Idle connections in the pool.", engine.pool.get_idle_size())
        yield gauge("reportsim_callbacks_held", "Callbacks this replica is delivering.", len(engine.dispatcher.held))
        yield gauge("reportsim_polling", "Whether changes of other replicas are polled for.", engine.is_polling)
        yield counter("reportsim_requests_accepted", "Requests accepted here.", "mode", engine.counts.accepted)
        yield counter("reportsim_requests_ended", "Requests ended here.", "status", engine.counts.ended)
        yield counter("reportsim_webhook_deliveries", "Callback attempts.", "outcome", engine.counts.deliveries)
        yield counter(
            "reportsim_fences_lost", "Results dropped because another took over.", None, engine.worker.lost_fences
        )
        if self.backlog is not None:
            yield labelled_gauge("reportsim_jobs", "Requests that have not ended.", "state", self.backlog.states)
            yield gauge("reportsim_queue_age_seconds", "Age of the oldest waiting request.", self.backlog.age)
            yield gauge("reportsim_callbacks_due", "Callback attempts past their time.", self.backlog.callbacks_due)


def gauge(name: str, about: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, about, value=value)


def labelled_gauge(name: str, about: str, label: str, values: dict[str, int]) -> Metric:
    """A gauge with one label."""
    family = GaugeMetricFamily(name, about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def counter(name: str, about: str, label: str | None, values: "dict[str, int] | int") -> Metric:
    """A counter with at most one label."""
    family = CounterMetricFamily(name, about, labels=[label] if label else [])
    for key, value in values.items() if isinstance(values, dict) else [("", values)]:
        family.add_metric([key] if label else [], value)
    return family


@dataclass(slots=True)
class ResponseTimes:
    """How many responses of one kind took no longer than each bound and longer than the one before, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


class ResponseCollector(Collector):
    """Counts and times responses by method, route and status; two additions each, since there are many."""

    def __init__(self) -> None:
        """Knows no response."""
        self._by_labels: dict[tuple[str, ...], ResponseTimes] = {}
        self._by_kind: dict[tuple[str, web.AbstractResource | None, int], ResponseTimes] = {}

    def observe(self, method: str, resource: web.AbstractResource | None, status: int, seconds: float) -> None:
        """Counts one response, by the template of its route, so that the number of labels is bounded."""
        times = self._by_kind.get((method, resource, status))
        if times is None:
            labels = method, resource.canonical if resource is not None else UNMATCHED, status_label(status)
            times = self._by_kind[method, resource, status] = self._by_labels.setdefault(labels, ResponseTimes())
        times.counts[bisect_left(BUCKETS, seconds)] += 1
        times.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        """The histogram, and the counter of the same responses."""
        durations = HistogramMetricFamily(
            "reportsim_http_request_duration_seconds", "Time to answer, by route.", labels=LABELS
        )
        answers = CounterMetricFamily("reportsim_http_requests", "Answers, by route.", labels=LABELS)
        for labels, times in self._by_labels.items():
            up_to = list(itertools.accumulate(times.counts))
            durations.add_metric(labels, [*zip(BOUNDS, up_to, strict=True)], times.seconds)
            answers.add_metric(labels, up_to[-1])
        return [durations, answers]


class Metrics:
    """The metrics of one application."""

    def __init__(self, engine: Engine) -> None:
        """Registers all collectors."""
        self.lag = LoopLag()
        self._engine = engine
        self._collector = EngineCollector(engine, self.lag)
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        self.responses = ResponseCollector()
        self._registry.register(self.responses)

    def observe(self, request: web.Request, status: int, seconds: float) -> None:
        """Counts one response."""
        method = request.method if request.method in METHODS else "OTHER"
        self.responses.observe(method, request.match_info.route.resource, status, seconds)

    async def render(self, process: int | None = None, *, with_backlog: bool = True) -> bytes:
        """The exposition text; metrics from the database are omitted while it is unavailable.

        In a service of several processes, each sample of this process is labelled with its number.
        """
        self._collector.backlog = None
        if with_backlog:
            with contextlib.suppress(*OUTAGES, TimeoutError):
                async with asyncio.timeout(1):
                    self._collector.backlog = await backlog(self._engine.pool)
        label = {} if process is None else {"process": str(process)}
        pieces = []
        for family in self._registry.collect():
            own = {} if family.name in OF_THE_DATABASE else label
            family.samples = [
                sample._replace(labels=own | sample.labels)
                for sample in family.samples
                # The `_created` series double the output, and are not used.
                if not sample.name.endswith("_created")
            ]
            for first in range(0, max(len(family.samples), 1), SAMPLES_AT_ONCE):
                pieces.append(render_samples(family, first))
                # Rendering takes some microseconds of the event loop per sample.
                await asyncio.sleep(0)
        return b"".join(pieces)


def status_label(status: int) -> str:
    """The status as a label; statuses that only the demo receiver sends are grouped by class."""
    return str(status) if status in STATUSES else f"{status // 100}xx"


def render_samples(family: Metric, first: int) -> bytes:
    """Some samples of a family in the text format of Prometheus; the first ones follow its comments."""
    part = Metric(family.name, family.documentation, family.type, family.unit)
    part.samples = family.samples[first : first + SAMPLES_AT_ONCE]
    lines = generate_latest(SingleFamilyRegistry(part)).splitlines(keepends=True)
    return b"".join(line for line in lines if first == 0 or not line.startswith(b"# "))


class SingleFamilyRegistry(CollectorRegistry):
    """A registry of part of one metric family."""

    def __init__(self, part: Metric) -> None:
        """Takes the part."""
        super().__init__()
        self._part = part

    def collect(self) -> Iterable[Metric]:
        """Yields the part."""
        return [self._part]


METRICS: Final = web.AppKey("METRICS", Metrics)


async def show_metrics(request: web.Request) -> web.Response:
    """The metrics in the text format of Prometheus; those of several processes have a label `process`."""
    metrics, member = request.app[METRICS], request.app.get(MEMBER)
    if member is None:
        body = await metrics.render()
    elif is_private(request, member):
        body = await metrics.render(member.index, with_backlog=False)
    else:
        body = merge_expositions([await metrics.render(member.index), *await ask_others(request, member)])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def lag_context(app: web.Application) -> AsyncIterator[None]:
    """Measures the lag of the loop as long as the application runs."""
    async with in_background(app[METRICS].lag.run(), names=("loop-lag",), on_end=app[FAILED].set):
        yield
