"""Whose tasks and queues `celery mailproxy migration` looks at in a Django project."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.migration.backlog import legacy_queues, legacy_tasks


@pytest.fixture
def app() -> Celery:
    return Celery("shop", broker="memory://", set_as_current=False)


@pytest.mark.parametrize(
    ("config", "task", "queue"),
    [
        (None, "djcelery_email_send_multiple", "celery"),
        ({"queue": "mails"}, "djcelery_email_send_multiple", "mails"),
        ({"name": "shop.old_mails", "queue": "mails"}, "shop.old_mails", "mails"),
        # A system check tells of it.
        ("mails", "djcelery_email_send_multiple", "celery"),
    ],
)
def test_it_looks_at_django_celery_emails_own(settings: Any, app: Celery, config: Any, task: str, queue: str) -> None:
    settings.CELERY_EMAIL_TASK_CONFIG = config
    assert legacy_tasks(app)[0] == task
    assert legacy_queues(app) == [queue]


def test_its_queue_is_that_of_the_routes(settings: Any, app: Celery) -> None:
    settings.CELERY_EMAIL_TASK_CONFIG = {}
    app.conf.task_routes = {"djcelery_email_send_multiple": {"queue": "routed"}}
    assert legacy_queues(app) == ["routed"]
