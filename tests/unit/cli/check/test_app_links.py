"""The links on our side of the proxy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import celery
import pytest
from celery import Celery

from celery_mailproxy.cli.check import app_links
from celery_mailproxy.cli.check.app_links import check_application, check_queues, check_settings, check_workers
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


def test_variables_that_are_no_settings_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PROXY_TOKNE", "secret-of-somebody")
    link = check_settings(settings())
    assert link.outcome is Outcome.WARNING
    assert "MAIL_PROXY_TOKNE (did you mean MAIL_PROXY_TOKEN?)" in link.found
    assert "secret" not in link.found


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
ALL = [
    *BOTH,
    "celery_mailproxy.send_many_via_proxy [rate_limit=10/m]",
    "celery_mailproxy.deliver_via_proxy",
    "celery_mailproxy.deliver_from_chunk",
    "celery_mailproxy.heal_mail",
]
CELERY, MAILS = {"name": "celery"}, {"name": "mails"}


@pytest.mark.parametrize(
    ("registered", "queues", "outcome", "words"),
    [
        (None, None, Outcome.WARNING, "none answered within 1 s"),
        ({"w1": ["other"]}, None, Outcome.FAILED, "none has celery_mailproxy.send_via_proxy and celery_mailproxy.disp"),
        ({"w1": ALL}, {"w1": [CELERY]}, Outcome.FAILED, "none takes tasks from mails"),
        ({"w1": ALL}, {"w1": [CELERY, MAILS]}, Outcome.OK, "w1; queue celery, mails"),
    ],
)
def test_workers_must_have_the_tasks_and_take_their_queues(
    registered: Any, queues: Any, outcome: Outcome, words: str
) -> None:
    link = check_workers(workers(registered, queues), settings(), timeout_seconds=1)
    assert link.outcome is outcome
    assert words in link.found


@pytest.mark.parametrize(
    ("registered", "queues", "words"),
    [
        (["other"], [MAILS], "w2 takes tasks from mails and discards celery_mailproxy.send_via_proxy, which it does"),
        (BOTH, [CELERY], "w2 takes tasks from celery and discards celery_mailproxy.send_many_via_proxy and 3 more,"),
        (["other"], [CELERY, MAILS], "w2 takes tasks from celery, mails and discards celery_mailproxy.send_via_proxy"),
        (BOTH, [{"name": "ends"}], "w2 takes tasks from ends and discards celery_mailproxy.deliver_via_proxy and 1"),
    ],
)
def test_a_worker_that_takes_tasks_which_it_does_not_know_is_named(registered: Any, queues: Any, words: str) -> None:
    app = workers({"w1": ALL, "w2": registered}, {"w1": [CELERY, MAILS], "w2": queues})
    link = check_workers(app, settings(mail_proxy_resume_queue="ends"), timeout_seconds=1)
    assert link.outcome is Outcome.FAILED
    assert link.found.startswith("w1, w2; w2 takes")
    assert words in link.found
    assert "imports setting" in (link.remedy or "")


@pytest.mark.parametrize("queues", [{"w2": [{"name": "reports"}]}, {}, {"w2": [], "w3": [CELERY]}])
def test_a_worker_that_takes_none_of_them_or_has_not_answered_is_not_judged(queues: Any) -> None:
    app = workers({"w1": ALL, "w2": ["other"]}, {"w1": [CELERY, MAILS], **queues})
    assert check_workers(app, settings(), timeout_seconds=1).outcome is Outcome.OK


def queues_link(monkeypatch: pytest.MonkeyPatch, *, can_delay: bool = True, **conf: Any) -> Any:
    app = Celery("x", broker="amqp://", set_as_current=False)
    app.conf.update(conf)
    monkeypatch.setattr(app_links, "can_delay", lambda connection: can_delay)
    return check_queues(app, timeout_seconds=1)


@pytest.mark.skipif(celery.VERSION < (5, 5), reason="Celery before 5.5 cannot consume from quorum queues")
def test_queues_are_a_link_where_they_are_quorum_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    assert queues_link(monkeypatch) is None
    quorum: dict[str, Any] = {"task_default_queue_type": "quorum"}
    direct = queues_link(monkeypatch, **quorum)
    assert (direct.outcome, direct.name) == (Outcome.WARNING, "queues")
    assert "celery: quorum queues with a direct exchange" in direct.found
    assert 'task_default_exchange_type = "topic"' in direct.remedy
    topic = queues_link(monkeypatch, **quorum, task_default_exchange_type="topic")
    assert topic.outcome is Outcome.OK
    undeclared = queues_link(monkeypatch, can_delay=False, **quorum)
    assert undeclared.outcome is Outcome.FAILED
    assert "retries cannot be published" in undeclared.found
