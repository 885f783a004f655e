"""Lines that Celery's worker logs about tasks are shown without what the tasks carry."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.base import BasePool
from celery.worker.consumer.consumer import INVALID_TASK_ERROR, UNKNOWN_TASK_ERROR, dump_body
from celery.worker.consumer.consumer import logger as consumer_logger

from celery_mailproxy.tasks.sending.argument_logs import hide_arguments_in_logs

TEXT = "Geheimtext"
ADDRESS = "ann@example.com"
BODY = json.dumps([[], {"body": TEXT, "to": [ADDRESS]}, {}])


class Pool(BasePool):  # type: ignore[misc]
    def on_apply(self, *args: Any, **options: Any) -> None:
        """Apply nothing."""


@pytest.fixture(autouse=True)
def debug(caplog: pytest.LogCaptureFixture) -> None:
    hide_arguments_in_logs()
    caplog.set_level(logging.DEBUG, "celery.pool")


@pytest.mark.parametrize("name", ["celery_mailproxy.send_via_proxy", "shop.tell"])
def test_what_the_pool_gets_is_logged_by_name_and_id(name: str, caplog: pytest.LogCaptureFixture) -> None:
    request = {"kwargsrepr": repr({"to": ADDRESS})}
    Pool(app=SimpleNamespace(), limit=1).apply_async(len, args=(name, "id-1", request, BODY, "json", "utf-8"))
    assert f"TaskPool: Apply {len} (args:('{name}', 'id-1', …) kwargs:{{…}})" in caplog.text
    assert TEXT not in caplog.text
    assert ADDRESS not in caplog.text


def test_what_is_no_task_is_hidden_as_well(caplog: pytest.LogCaptureFixture) -> None:
    Pool(app=SimpleNamespace(), limit=1).apply_async(len, args=(ADDRESS,), kwargs={"body": TEXT})
    assert "TaskPool: Apply" in caplog.text
    assert TEXT not in caplog.text
    assert ADDRESS not in caplog.text


@pytest.mark.parametrize("line", [UNKNOWN_TASK_ERROR, INVALID_TASK_ERROR])
def test_a_message_that_cannot_be_used_is_logged_by_its_size(line: str, caplog: pytest.LogCaptureFixture) -> None:
    message = SimpleNamespace(body=BODY)
    headers = {"task": "celery_mailproxy.send_via_proxy", "id": "id-1", "kwargsrepr": repr({"to": ADDRESS})}
    more = (headers, {"routing_key": "mails"}) if line is UNKNOWN_TASK_ERROR else ()
    consumer_logger.error(line, KeyError("celery_mailproxy.send_via_proxy"), dump_body(message, None), *more)
    assert f"<body of {len(BODY)} bytes>" in caplog.text
    assert "celery_mailproxy.send_via_proxy" in caplog.text
    assert TEXT not in caplog.text
    assert ADDRESS not in caplog.text


def test_other_lines_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    consumer_logger.error("Connection to %s lost (%d times)", "broker@host.example.com", 3)
    logging.getLogger("celery.pool").debug("worker %s is up", 7)
    assert "Connection to broker@host.example.com lost (3 times)" in caplog.text
    assert "worker 7 is up" in caplog.text


def test_hiding_twice_filters_once() -> None:
    before = len(logging.getLogger("celery.pool").filters)
    hide_arguments_in_logs()
    assert len(logging.getLogger("celery.pool").filters) == before
