"""`manage.py mailproxy_audit`: the log of mails and what the proxy has, side by side."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.core.management import call_command
from django.core.management.base import CommandError

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import FakeProxy
from tests.django.harness.default_app import default_app

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        yield proxy


@pytest.fixture
def app(proxy: FakeProxy) -> Iterator[Celery]:
    conf = {"mail_proxy_url": proxy.url, "mail_proxy_token": proxy.token, "mail_proxy_tenant": proxy.tenant_id}
    with default_app(**conf, mail_proxy_sync_token="t", mail_proxy_store="django://") as app:
        yield app


def submit(app: Celery, proxy: FakeProxy, message_id: str, *, is_taken: bool = True) -> None:
    """A mail that the log has as queued; the proxy has it, unless it is not taken."""
    now = utcnow()
    fields: dict[str, Any] = {"tenant_id": proxy.tenant_id, "account_id": proxy.account_id}
    if is_taken:
        content = {"from": "a@example.com", "to": ["b@example.com"], "subject": "S", "body": "B"}
        proxy.submit([{**fields, **content, "id": message_id}])
    store = get_runtime(app).store
    store.register([Delivery(message_id=message_id, created_at=now, updated_at=now, **fields)])
    store.record([DeliveryReport(kind=Kind.QUEUED, message_id=message_id, at=now)], claim="test")


def audit(*options: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("mailproxy_audit", "--json", *options, stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_everything_is_accounted_for(app: Celery, proxy: FakeProxy) -> None:
    submit(app, proxy, "m")
    found = audit("--since", "1h")
    assert (found["accepted"], found["open"], found["is_accounted_for"]) == (1, 1, True)


def test_what_the_proxy_does_not_know_is_named_by_its_exit_code(app: Celery, proxy: FakeProxy) -> None:
    submit(app, proxy, "lost", is_taken=False)
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("mailproxy_audit", stdout=out)
    assert exit_.value.code == 1
    assert "unknown to the proxy: lost" in out.getvalue()


def test_a_span_that_makes_no_sense_is_refused(app: Celery) -> None:
    with pytest.raises(CommandError, match="such as 90m"):
        call_command("mailproxy_audit", "--since", "soon")
