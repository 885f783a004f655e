"""The metrics, as Prometheus reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from celery_mailproxy.contrib.prometheus import MigrationCollector, SendingCollector
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.errors import ProxyUnavailable
from celery_mailproxy.migration.breaker import get_breaker
from celery_mailproxy.proxy.api import SubmitAnswer
from celery_mailproxy.runtime import forget_runtime
from celery_mailproxy.tasks.sending.troubles import troubles_of
from celery_mailproxy.testing.ports import free_port
from tests.harness.waiting import wait_until
from tests.unit.migration.migrated_app import Migrated, migrated, working
from tests.unit.migration.test_wrapping import task_of


def metrics(one: Migrated, **options: Any) -> dict[str, float]:
    """`name{labels}` → value, as they are scraped."""
    return scraped(MigrationCollector(one.app, **options))


def scraped(collector: Collector) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    lines = generate_latest(registry).decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if line.startswith("celery_mailproxy_"))
    return {name.removeprefix("celery_mailproxy_"): float(value) for name, value in samples}


def test_a_migration_is_measured() -> None:
    with migrated(share=0.25, breaker_failures=1) as one:
        one.runtime.store.count({"proxy/sent": 5, "legacy/error": 2, "shadow/failed": 1}, at=utcnow())
        one.runtime.store.count({"proxy/sent": 5, "proxy/error": 10}, at=utcnow() - timedelta(hours=3))
        get_breaker(one.runtime, "default").failed("refused")
        seen = metrics(one)
    assert seen["migration_share"] == 0.25
    assert seen['migration_mails{outcome="sent",period="hour",way="proxy"}'] == 5
    assert seen['migration_mails{outcome="sent",period="day",way="proxy"}'] == 10
    assert seen['migration_mails{outcome="error",period="week",way="legacy"}'] == 2
    assert seen['migration_error_ratio{period="hour",way="legacy"}'] == 1
    assert seen['migration_error_ratio{period="hour",way="proxy"}'] == 0
    assert seen['migration_error_ratio{period="week",way="proxy"}'] == 0.5
    assert seen['migration_shadow{period="hour",result="failed"}'] == 1
    assert seen['breaker_changes{change="opened",period="hour"}'] == 1
    assert seen['breaker_state{server="default",state="open"}'] == 1
    assert seen['breaker_state{server="default",state="closed"}'] == 0


def test_where_no_mail_has_ended_there_is_no_error_ratio() -> None:
    with migrated() as one:
        assert not [name for name in metrics(one) if "error_ratio" in name]


def test_what_is_still_to_come_is_measured() -> None:
    with migrated() as one:
        task, queue = task_of(one), one.app.conf.task_default_queue
        for number in range(3):
            task.apply_async((number,))
        seen = metrics(one, workers_timeout_seconds=0.2)
        assert seen[f'legacy_queue_length{{queue="{queue}"}}'] == 3
        # No worker is there to tell.
        assert not [name for name in seen if "held" in name]
        assert metrics(one, queues=["nowhere"])['legacy_queue_length{queue="nowhere"}'] == 0
        with working(one):
            # A worker on a busy machine may answer too late to be counted: it is asked again.
            wait_until(lambda: 'legacy_tasks_held{task="shop.receipt"}' in metrics(one))
            assert not [name for name in metrics(one, workers_timeout_seconds=None) if "held" in name]


def test_without_a_broker_the_rest_is_measured() -> None:
    with migrated(share=0.25) as one:
        one.app.conf.broker_url = f"redis://127.0.0.1:{free_port()}/0"
        seen = metrics(one)
    assert seen["migration_share"] == 0.25
    assert not [name for name in seen if "legacy_" in name]


def test_the_share_of_a_tasks_own_is_measured() -> None:
    with migrated(share=0.25) as one:
        task_of(one, share=0.75)
        assert metrics(one)['migration_task_share{task="shop.receipt"}'] == 0.75


def test_mails_that_wait_for_a_proxy_are_measured() -> None:
    with migrated() as one:
        one.app.conf.mail_proxy_url = "http://proxy:8000"
        one.app.conf.mail_proxy_servers = {"bulk": {"url": "http://bulk:8000"}}
        forget_runtime(one.app)
        quiet = scraped(SendingCollector(one.app))
        troubles = troubles_of(one.runtime)
        troubles.note("bulk", SubmitAnswer(unsettled=dict.fromkeys(["m1", "m2"], ProxyUnavailable("away"))))
        seen = scraped(SendingCollector(one.app))
    assert set(quiet.values()) == {0}
    assert (seen['waiting_mails{server="bulk"}'], seen['waiting_mails{server="default"}']) == (2, 0)
    assert seen['waiting_since_timestamp_seconds{server="bulk"}'] > 0
