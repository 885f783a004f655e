"""How a run ends in a process of the prefork pool: an ignored one without its traceback, any other as Celery has it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from billiard.einfo import ExceptionWithTraceback
from celery import Celery
from celery.app import trace as tracing
from celery.app.trace import build_tracer
from celery.exceptions import Ignore, Reject

from celery_mailproxy.tasks.results.deliver_task import DeliverTask
from celery_mailproxy.tasks.results.ignored_runs import light_tracer


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("tracing", broker="memory://", set_as_current=False) as app:
        yield app


class Ending(DeliverTask):
    """A task whose runs end as they are told to."""

    def __call__(self, end: Any) -> Any:
        if isinstance(end, Exception):
            raise end
        return end


def never_run(end: Any) -> None:
    raise AssertionError


def traced(app: Celery, end: Any, *, light: bool = True) -> Any:
    task = app.task(base=Ending, name="ending", shared=False)(never_run)
    trace = light_tracer(task) if light else build_tracer(task.name, task, app.loader, None, app=app)
    request = {"id": "task-1", "delivery_info": {}, "args": (end,), "kwargs": {}, "hostname": "h", "is_eager": False}
    return trace("task-1", (end,), {}, request)


def test_an_ignored_run_carries_no_traceback(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="celery.app.trace"):
        light, usual = traced(app, Ignore()), traced(app, Ignore(), light=False)
    assert light.info.state == usual.info.state == "IGNORED"
    sent = pickle.dumps(light.retval)
    assert len(sent) < 500 < len(pickle.dumps(usual.retval))
    # What the worker's main process looks at.
    received = pickle.loads(sent)
    assert isinstance(received.exception, Ignore)
    assert (received.internal, received.traceback, received.tb) == (True, "", None)
    assert caplog.messages.count("Task ending[task-1] ignored") == 2


@pytest.mark.parametrize("end", ["report", ValueError("broken"), Reject("no")])
def test_any_other_end_is_celerys(app: Celery, end: Any) -> None:
    light, usual = traced(app, end), traced(app, end, light=False)
    assert getattr(light.info, "state", None) == getattr(usual.info, "state", None)
    if isinstance(end, str):
        assert light.retval == usual.retval == end
        return
    for one in (light.retval, usual.retval):
        exception = one.exception
        assert type(exception.exc if isinstance(exception, ExceptionWithTraceback) else exception) is type(end)
        assert "test_ignored_runs.py" in one.traceback


def test_a_builder_that_is_put_in_celerys_place_is_used(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Sentry does in `celeryd_init`, when this package has long been imported."""
    built: list[str] = []

    def recording(name: str, *args: Any, **kwargs: Any) -> Any:
        built.append(name)
        return build_tracer(name, *args, **kwargs)

    monkeypatch.setattr(tracing, "build_tracer", recording)
    assert traced(app, "report").retval == "report"
    assert built == ["ending"]
