"""Metrics of a migration for Prometheus: `REGISTRY.register(MigrationCollector(app))`. Needs the `prometheus` extra.

    celery_mailproxy_migration_mails{way, outcome}      mails of the last hour, by way and outcome
    celery_mailproxy_migration_share                    the part of the mails that goes by the proxy
    celery_mailproxy_migration_shadow{result}           mails of the last hour that were tried as a shadow
    celery_mailproxy_breaker_state{server, state}       1 for the state that the proxy's breaker is in, else 0
    celery_mailproxy_breaker_changes{change}            how often breakers opened, probed and closed in the last hour

Everything is read from the store when Prometheus asks, and holds for all workers: one process has to tell it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from celery import Celery

from ..errors import ConfigurationError
from ..migration.figures import PERIODS, breaker_states, outcomes
from ..migration.routing import get_router
from ..reports import utcnow
from ..runtime import get_runtime

try:
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as exc:
    raise ConfigurationError(
        'metrics need prometheus_client, which is not installed: pip install "celery-mailproxy[prometheus]"'
    ) from exc

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["MigrationCollector"]

_PREFIX = "celery_mailproxy_"


class MigrationCollector(Collector):
    """Asks the store of an app (by default the current one). Raises `StoreError` where it cannot be reached."""

    def __init__(self, app: Celery | None = None) -> None:
        self._app = app

    def describe(self) -> list[Metric]:
        """Nothing: a registry would otherwise ask the store when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        runtime = get_runtime(self._app)
        counts = runtime.tally.since(utcnow() - PERIODS["hour"])
        yield _mails(counts)
        share = GaugeMetricFamily(f"{_PREFIX}migration_share", "The part of the mails that goes by the proxy.")
        share.add_metric([], get_router(self._app).share())
        yield share
        yield _by_name(counts, "shadow", "migration_shadow", "result", "Mails tried as a shadow, last hour.")
        yield _by_name(counts, "breaker", "breaker_changes", "change", "Changes of breakers, last hour.")
        states = GaugeMetricFamily(
            f"{_PREFIX}breaker_state", "1 for the state that a breaker is in.", labels=["server", "state"]
        )
        for server, state in breaker_states(runtime).items():
            for name in ("closed", "half-open", "open"):
                states.add_metric([server, name], float(state.name == name))
        yield states


def _mails(counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}migration_mails", "Mails of the last hour.", labels=["way", "outcome"])
    for way, each in outcomes(counts).items():
        for outcome, number in asdict(each).items():
            family.add_metric([way, outcome], number)
    return family


def _by_name(counts: Mapping[str, int], group: str, name: str, label: str, text: str) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", text, labels=[label])
    for key, number in sorted(counts.items()):
        if key.startswith(f"{group}/"):
            family.add_metric([key.removeprefix(f"{group}/")], number)
    return family
