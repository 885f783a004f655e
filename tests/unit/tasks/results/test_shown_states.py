"""QUEUED and DEFERRED are for people: a result backend that is away holds up neither a mail nor a handler."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from celery_mailproxy import Status, signals
from celery_mailproxy.conf import task_names
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import deferred

from ..sending.sending_app import MAIL, SendingApp, sending_app


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities", reports=False) as proxy:
        yield proxy


@pytest.fixture
def one(proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[SendingApp]:
    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("the result backend at redis://ann:secret@away is away")

    with sending_app(proxy) as one:
        monkeypatch.setattr(one.app.backend, "store_result", away)
        yield one


@pytest.mark.parametrize("more", [{}, {"per_recipient": True}], ids=["one", "to each"])
def test_a_mail_is_submitted_though_its_state_cannot_be_shown(
    one: SendingApp, more: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        one.run(task_names.DELIVER, **MAIL, **more)
    delivery = one.delivery("t")
    assert delivery is not None
    assert delivery.status is Status.QUEUED
    assert len(one.received()) == 1
    assert "message t: the state QUEUED of its result is not shown: ConnectionError" in caplog.text
    assert "secret" not in caplog.text


def test_a_handler_runs_though_the_state_cannot_be_shown(one: SendingApp, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def note(report: Any, **kwargs: Any) -> None:
        told.append(report.message_id)

    signals.mail_deferred.connect(note, sender=one.app)
    one.run(task_names.DELIVER, **MAIL)
    one.report("t", deferred("451 later"))
    assert told == ["t"]
    assert "message t: the state DEFERRED of its result is not shown: ConnectionError" in caplog.text


@pytest.mark.parametrize("queue", [None, "resumed"])
def test_a_state_in_between_wipes_nothing_of_what_an_extended_result_has(proxy: FakeProxy, queue: str | None) -> None:
    with sending_app(proxy, resume_queue=queue) as one:
        one.app.conf.result_extended = True
        one.run(task_names.DELIVER, **MAIL)
        queued = one.app.backend.get_task_meta("t")
        one.report("t", deferred("451 later"))
        waiting = one.app.backend.get_task_meta("t")
        assert (queued["status"], waiting["status"]) == ("QUEUED", "DEFERRED")
        same = ("args", "kwargs", "retries", "children")
        assert {name: waiting[name] for name in same} == {name: queued[name] for name in same}
        assert (waiting["name"], waiting["kwargs"]) == (task_names.DELIVER, MAIL)
        assert waiting["queue"] == (queue or one.app.conf.task_default_queue)
