"""A worker that knows our tasks because the package is installed, and has none of our settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.exceptions import Retry

import celery_mailproxy.tasks  # noqa: F401
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.errors import ConfigurationError
from celery_mailproxy.runtime import configured_runtime, forget_runtime


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    # Where the default store would be.
    monkeypatch.chdir(tmp_path)
    app = Celery("other", broker="memory://", set_as_current=False)
    yield app
    forget_runtime(app)


def test_reports_wait_for_a_worker_with_settings(app: Celery, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = DeliveryReport(kind=Kind.SENT, message_id="m1", at=utcnow()).to_json()
    task = app.tasks[task_names.DISPATCH]
    task.push_request(id="t1", called_directly=False, delivery_info={"exchange": "", "routing_key": "celery"})
    with caplog.at_level(logging.ERROR), pytest.raises(Retry) as raised:
        task.run([report])
    task.pop_request()
    assert raised.value.when == 60
    assert "this worker (other) has none of celery-mailproxy's settings" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [task_names.PRUNE, task_names.RESUME_STALLED])
def test_what_looks_after_a_store_fails_where_none_is_meant(app: Celery, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\(-Q\)"):
        app.tasks[name]()
    assert list(tmp_path.iterdir()) == []


def test_any_setting_of_ours_means_this_worker(app: Celery) -> None:
    app.conf.mail_proxy_store = "memory://"
    assert configured_runtime(app).settings.store == "memory://"
