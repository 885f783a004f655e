"""The wiring: one runtime an app and process, and dispatch in the receiving process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.dispatch.signals import mail_sent
from celery_mailproxy.receiver.default import receiver_of
from celery_mailproxy.receiver.receiver import Request
from celery_mailproxy.runtime import forget_runtime, get_delivery, get_runtime


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("runtime", broker="memory://", set_as_current=False)
    app.conf.update(
        mail_proxy_url="http://127.0.0.1:9",
        mail_proxy_sync_token="token",
        mail_proxy_dispatch="inline",
        mail_proxy_events=False,
        mail_proxy_store=f"sqlite:///{tmp_path}/deliveries.sqlite3",
    )
    yield app
    forget_runtime(app)


def post(app: Celery, *entries: dict[str, Any]) -> int:
    body = json.dumps({"delivery_report": entries}).encode()
    headers = {"authorization": "Bearer token", "content-type": "application/json"}
    request = Request(method="POST", path="/mail-proxy/sync", headers=headers, body=body)
    return int(receiver_of(get_runtime(app)).handle(request).status)


def register(app: Celery, message_id: str, **callbacks: Any) -> None:
    now = utcnow()
    get_runtime(app).store.register(
        [Delivery(message_id=message_id, created_at=now, updated_at=now, callbacks=callbacks)]
    )


def test_an_app_has_one_runtime_until_it_is_forgotten(app: Celery) -> None:
    first = get_runtime(app)
    assert get_runtime(app) is first
    forget_runtime(app)
    assert get_runtime(app) is not first


def test_a_forked_process_builds_its_own_runtime(app: Celery) -> None:
    inherited = get_runtime(app)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if get_runtime(app) is not inherited else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_inline_dispatch_tells_in_the_receiving_process(app: Celery) -> None:
    register(app, "m1")
    heard = []

    def listen(report: Any, **kwargs: Any) -> None:
        heard.append(report.message_id)

    mail_sent.connect(listen, sender=app)
    assert post(app, {"id": "m1", "sent_ts": int(time.time())}) == 200
    assert heard == ["m1"]
    delivery = get_delivery("m1", app=app)
    assert delivery is not None
    assert delivery.status.value == "sent"


def test_inline_a_report_that_could_not_be_told_is_told_when_it_comes_again(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(app, "m1", sent=[{"task": "shop.paid", "args": [], "kwargs": {}, "options": {}}])
    told = []
    broken = True

    def send_task(name: str, *args: Any, **options: Any) -> None:
        if broken:
            raise OperationalError("no broker")
        told.append(name)

    monkeypatch.setattr(app, "send_task", send_task)
    entry = {"id": "m1", "sent_ts": int(time.time())}
    assert post(app, entry) == 503
    forget_runtime(app)  # as after a restart of the process
    broken = False
    assert post(app, entry) == 200
    assert told == ["shop.paid"]


def test_inline_a_young_report_of_an_unknown_message_stays_with_the_proxy(app: Celery) -> None:
    assert post(app, {"id": "stranger", "sent_ts": int(time.time())}) == 503
    assert post(app, {"id": "stranger", "sent_ts": int(time.time()) - 3600}) == 200


def test_inline_two_processes_that_get_a_report_at_once_tell_it_once(app: Celery) -> None:
    other = Celery("other process", broker="memory://", set_as_current=False)
    other.conf.update({name: value for name, value in app.conf.items() if name.startswith("mail_proxy_")})
    register(app, "m1")
    entry = {"id": "m1", "sent_ts": int(time.time())}
    heard: list[str] = []
    answers: list[int] = []

    def listen(sender: Any, **kwargs: Any) -> None:
        heard.append(sender.main)
        # The other receiver gets it while this handler runs: it cannot vouch for it, so the proxy has to keep it.
        answers.append(post(other, entry))

    for each in (app, other):
        mail_sent.connect(listen, sender=each, weak=False)
    try:
        assert post(app, entry) == 200
        assert (heard, answers) == (["runtime"], [503])
        # The proxy sends it again.
        assert post(other, entry) == 200
        assert heard == ["runtime"]
    finally:
        for each in (app, other):
            mail_sent.disconnect(listen, sender=each)
        forget_runtime(other)
        other.close()
