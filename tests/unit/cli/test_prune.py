"""`celery mailproxy prune`."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.runtime import forget_runtime
from tests.unit.cli.shop import Run, report


def test_prune_says_how_many_it_deleted(run: Run, app: Celery, remember: Callable[..., Delivery]) -> None:
    remember("m1", report(Kind.SENT))
    remember("m2")
    app.conf.mail_proxy_store_ttl_seconds = 1e-6
    forget_runtime(app)
    assert run("prune").stdout == "1 expired delivery deleted.\n"
    assert run("prune").stdout == "0 expired deliveries deleted.\n"
