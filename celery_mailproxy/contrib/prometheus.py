"""Metrics for Prometheus: `REGISTRY.register(SendingCollector(app))`. Needs the `prometheus` extra.

`SendingCollector` shows whether mails wait for a proxy, `MigrationCollector` what `celery mailproxy migration` shows;
`docs/reference/metrics.md` lists them. Each scrape asks the store, that of a migration also the broker and the workers.
The answer covers all workers, so one process is enough to export it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from celery import Celery

from ..errors import ConfigurationError
from ..migration.backlog import held_by_workers, legacy_queues, legacy_tasks, queue_length
from ..migration.figures import breaker_states, outcomes, own_shares, period_counts
from ..migration.routing import get_router
from ..runtime import Runtime, get_runtime
from ..tasks.sending.troubles import trouble_of

try:
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as exc:
    raise ConfigurationError(
        'metrics need prometheus_client, which is not installed: pip install "celery-mailproxy[prometheus]"'
    ) from exc

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["MigrationCollector", "SendingCollector"]

_PREFIX = "celery_mailproxy_"

_Counts = Mapping[str, Mapping[str, int]]


class SendingCollector(Collector):
    """Asks the store of an app (by default the current one). Raises `StoreError` where it cannot be reached."""

    def __init__(self, app: Celery | None = None) -> None:
        self._app = app

    def describe(self) -> list[Metric]:
        """Nothing, as with `MigrationCollector`."""
        return []

    def collect(self) -> Iterator[Metric]:
        runtime = get_runtime(self._app)
        mails = _gauge("waiting_mails", "Emails put off in the last minute, because of the proxy.", "server")
        since = _gauge(
            "waiting_since_timestamp_seconds", "Since when emails wait for the proxy; 0: none does.", "server"
        )
        for server in runtime.settings.server_names():
            trouble = trouble_of(runtime, server)
            mails.add_metric([server], 0 if trouble is None else trouble.number)
            since.add_metric([server], 0 if trouble is None else trouble.since)
        yield mails
        yield since


class MigrationCollector(Collector):
    """Asks the store of an app (by default the current one). Raises `StoreError` where it cannot be reached.

    `queues` are those of the legacy transport; by default those where its tasks wait. `workers_timeout_seconds` is how
    long workers have to say what they hold; None: they are not asked. What broker or workers do not answer is left out.
    """

    def __init__(
        self,
        app: Celery | None = None,
        *,
        queues: Sequence[str] = (),
        workers_timeout_seconds: float | None = 1.0,
    ) -> None:
        self._app = app
        self._queues = tuple(queues)
        self._workers_timeout_seconds = workers_timeout_seconds

    def describe(self) -> list[Metric]:
        """Nothing: a registry would otherwise ask the store when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        runtime = get_runtime(self._app)
        counts = period_counts(runtime)
        yield from _mails(counts)
        yield from _shares(runtime.app)
        yield _by_name(counts, "shadow", "migration_shadow", "result", "Emails tried as a shadow in the last period.")
        yield _by_name(counts, "breaker", "breaker_changes", "change", "State changes of breakers in the last period.")
        yield _breakers(runtime)
        yield from self._backlog(runtime.app)

    def _backlog(self, app: Celery) -> Iterator[Metric]:
        waiting = _gauge("legacy_queue_length", "Messages waiting in a queue of legacy tasks.", "queue")
        lengths = {queue: queue_length(app, queue) for queue in self._queues or legacy_queues(app)}
        known = {queue: length for queue, length in lengths.items() if length is not None}
        for queue, length in known.items():
            waiting.add_metric([queue], length)
        yield waiting
        # Without a broker no worker answers, and a scrape has no time to lose.
        if self._workers_timeout_seconds is None or not known:
            return
        held = held_by_workers(app, legacy_tasks(app), timeout_seconds=self._workers_timeout_seconds)
        tasks = _gauge("legacy_tasks_held", "Legacy tasks that workers have taken and not finished.", "task")
        for name, number in (held.tasks if held is not None else {}).items():
            tasks.add_metric([name], number)
        yield tasks


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=labels)


def _mails(counts: _Counts) -> Iterator[Metric]:
    mails = _gauge("migration_mails", "Emails by outcome in the last period.", "period", "way", "outcome")
    ratio = _gauge(
        "migration_error_ratio", "Share of errors among the emails that ended, from 0 to 1.", "period", "way"
    )
    for period, numbers in counts.items():
        for way, each in outcomes(numbers).items():
            for outcome, number in asdict(each).items():
                mails.add_metric([period, way, outcome], number)
            if each.error_rate is not None:
                ratio.add_metric([period, way], each.error_rate)
    yield mails
    yield ratio


def _shares(app: Celery) -> Iterator[Metric]:
    router = get_router(app)
    share = _gauge("migration_share", "The share of mail sent through the proxy.")
    share.add_metric([], router.share())
    yield share
    tasks = _gauge("migration_task_share", "The same for a task that has its own share.", "task")
    for name, own in own_shares(app).items():
        tasks.add_metric([name], router.share(own))
    yield tasks


def _by_name(counts: _Counts, group: str, name: str, label: str, text: str) -> Metric:
    family = _gauge(name, text, "period", label)
    for period, numbers in counts.items():
        for key, number in sorted(numbers.items()):
            if key.startswith(f"{group}/"):
                family.add_metric([period, key.removeprefix(f"{group}/")], number)
    return family


def _breakers(runtime: Runtime) -> Metric:
    family = _gauge("breaker_state", "1 for the state the breaker is in, else 0.", "server", "state")
    for server, state in breaker_states(runtime).items():
        for name in ("closed", "half-open", "open"):
            family.add_metric([server, name], float(state.name == name))
    return family
