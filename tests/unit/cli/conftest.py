"""The commands of `celery mailproxy`, each in this process: memory store, fake proxies, no broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celery_mailproxy.cli import mailproxy
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import DeliveryReport, utcnow
from celery_mailproxy.runtime import forget_runtime, get_runtime
from celery_mailproxy.testing import FakeProxy
from tests.harness.proxy_conf import proxy_conf
from tests.unit.cli.shop import SYNC_TOKEN, TOKEN, Run
from tests.unit.migration.migrated_app import Migrated, migrated


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", set_as_current=False, broker="memory://")
    app.conf.update(
        mail_proxy_url="http://127.0.0.1:1",
        mail_proxy_token=TOKEN,
        mail_proxy_tenant="acme",
        mail_proxy_account="main",
        mail_proxy_sync_token=SYNC_TOKEN,
        mail_proxy_from_email="shop@example.com",
        mail_proxy_store=f"memory://{uuid4()}",
    )
    yield app
    forget_runtime(app)
    app.close()


@pytest.fixture
def run(app: Celery) -> Run:
    def run(*args: str, **options: Any) -> Result:
        context = CLIContext(app=app, no_color=options.pop("no_color", False), workdir=None)
        return CliRunner().invoke(mailproxy, list(args), obj=context, catch_exceptions=False, **options)

    return run


@pytest.fixture
def remember(app: Celery) -> Callable[..., Delivery]:
    """Put a delivery with these reports into the store."""

    def remember(message_id: str, *reports: DeliveryReport, **fields: Any) -> Delivery:
        store = get_runtime(app).store
        now = utcnow() - timedelta(minutes=5)
        fields = {"task_id": message_id, "tenant_id": "acme", "account_id": "main", **fields}
        store.register([Delivery(message_id=message_id, created_at=now, updated_at=now, **fields)])
        for report in reports:
            store.record([report], claim="test")
            store.mark_dispatched([Dispatched(message_id=message_id, key=report.key)])
        delivery = store.get(message_id)
        assert delivery is not None
        return delivery

    return remember


@pytest.fixture
def proxy(app: Celery) -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        app.conf.update(
            **proxy_conf(proxy),
        )
        yield proxy


@pytest.fixture
def one() -> Iterator[Migrated]:
    """An application that migrates a mail task."""
    with migrated(share=0.25) as one:
        yield one
