"""The metrics of a migration, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from celery_mailproxy.contrib.prometheus import MigrationCollector
from celery_mailproxy.migration.breaker import get_breaker
from celery_mailproxy.reports import utcnow

from .migrated_app import migrated


def test_a_migration_is_measured() -> None:
    with migrated(share=0.25, breaker_failures=1) as one:
        registry = CollectorRegistry()
        registry.register(MigrationCollector(one.app))
        one.runtime.store.count({"proxy/sent": 5, "legacy/error": 2, "shadow/failed": 1}, at=utcnow())
        get_breaker(one.runtime, "default").failed("refused")
        text = generate_latest(registry).decode()
        for line in (
            'celery_mailproxy_migration_mails{outcome="sent",way="proxy"} 5.0',
            'celery_mailproxy_migration_mails{outcome="error",way="legacy"} 2.0',
            "celery_mailproxy_migration_share 0.25",
            'celery_mailproxy_migration_shadow{result="failed"} 1.0',
            'celery_mailproxy_breaker_changes{change="opened"} 1.0',
            'celery_mailproxy_breaker_state{server="default",state="open"} 1.0',
            'celery_mailproxy_breaker_state{server="default",state="closed"} 0.0',
        ):
            assert line in text
