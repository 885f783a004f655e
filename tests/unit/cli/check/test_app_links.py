"""The links on our side of the proxy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.cli.check.app_links import check_application, check_settings, check_workers
from celery_mailproxy.cli.check.links import Outcome
from celery_mailproxy.conf.settings import load_settings
from tests.unit.cli.shop import settings


def test_settings_without_a_sync_token_fail() -> None:
    app = Celery("x", set_as_current=False)
    app.conf.mail_proxy_url = "http://proxy"
    link = check_settings(load_settings(app, environ={}))
    assert link.outcome is Outcome.FAILED
    assert "Set mail_proxy_sync_token" in (link.remedy or "")
    assert check_settings(settings(mail_proxy_sync_token=None, mail_proxy_sync_auth="none")).outcome is Outcome.WARNING


def test_a_check_without_application_says_so() -> None:
    link = check_application(Celery("default", set_as_current=False))
    assert (link.outcome, link.remedy) == (Outcome.WARNING, "Name yours: celery -A proj mailproxy check")


def workers(registered: Any, queues: Any) -> Any:
    """An app whose workers answer so."""
    inspect = SimpleNamespace(registered=lambda: registered, active_queues=lambda: queues)
    control = SimpleNamespace(inspect=lambda timeout: inspect)
    real = Celery("x", set_as_current=False)
    real.conf.task_routes = {"celery_mailproxy.send_via_proxy": {"queue": "mails"}}
    return SimpleNamespace(conf=real.conf, amqp=real.amqp, control=control)


BOTH = ["celery_mailproxy.dispatch_reports", "celery_mailproxy.send_via_proxy"]


@pytest.mark.parametrize(
    ("registered", "queues", "outcome", "words"),
    [
        (None, None, Outcome.WARNING, "none answered within 1 s"),
        ({"w1": ["other"]}, None, Outcome.FAILED, "none has celery_mailproxy.send_via_proxy and celery_mailproxy.disp"),
        ({"w1": BOTH}, {"w1": [{"name": "celery"}]}, Outcome.FAILED, "none takes tasks from mails"),
        ({"w1": BOTH}, {"w1": [{"name": "celery"}, {"name": "mails"}]}, Outcome.OK, "w1; queue celery, mails"),
    ],
)
def test_workers_must_have_the_tasks_and_take_their_queues(
    registered: Any, queues: Any, outcome: Outcome, words: str
) -> None:
    link = check_workers(workers(registered, queues), settings(), timeout_seconds=1)
    assert link.outcome is outcome
    assert words in link.found
