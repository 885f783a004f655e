"""Ends that nobody wishes for: each mail still has one, and its callbacks learn of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import redis
from celery import chain
from kombu.exceptions import OperationalError

from celery_mailproxy import DeliveryError, Status
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.results.stalled import move_on_stalled
from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.raw_server import RawServer, answer
from ...harness.services import CeleryWorker, RedisServer
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.long(90)]

#: What `mail_app` fails to encode.
UNFORESEEN = "Unforeseen"


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        yield proxy


def tenant_of(proxy: FakeProxy) -> ProxyTenant:
    return ProxyTenant(proxy=proxy).add()


@pytest.fixture(scope="module")
def stack(proxy: FakeProxy, redis_server: RedisServer) -> Iterator[MailStack]:
    tenant = tenant_of(proxy)
    servers = {"broken": {"url": "http://127.0.0.1:9", "tenant": tenant.id, "account": tenant.account_id}}
    conf = {"mail_proxy_servers": servers, "mail_proxy_chunk_size": 2, "mail_proxy_max_retries": 2}
    with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
        yield stack


def callbacks(stack: MailStack) -> dict[str, Any]:
    return {"on_error": stack.app.signature(f"{MODULE}.noted", kwargs={"tag": "error"})}


def test_a_mail_that_a_chain_makes_invalid_tells_its_callback(stack: MailStack) -> None:
    send = stack.app.tasks["celery_mailproxy.send_via_proxy"]
    render = stack.app.signature(f"{MODULE}.render", args=(1,))
    result = chain(render, send.s(to=["not an address"], **callbacks(stack))).apply_async()
    stack.wait_told(result.id, "mail_rejected", "noted:error")
    assert result.parent.get(timeout=PATIENCE_SECONDS)["subject"] == "Rendered 1"
    assert "not an address" not in stack.worker.log


def test_a_mail_published_by_name_tells_its_callback(stack: MailStack) -> None:
    kwargs = {"to": ["ann@example.com"], "subject": "bad\nsubject", **callbacks(stack)}
    result = stack.app.send_task("celery_mailproxy.send_via_proxy", kwargs=kwargs)
    stack.wait_told(result.id, "mail_rejected", "noted:error")


def test_one_server_that_fails_takes_no_other_servers_mail_down(stack: MailStack, proxy: FakeProxy) -> None:
    mails = [
        {"to": ["a@example.com"], "subject": "x"},
        {"to": ["b@example.com"], "subject": "x", "server": "broken"},
    ]
    task = stack.app.tasks["celery_mailproxy.send_many_via_proxy"]
    (result,) = task.delay(mails, **callbacks(stack)).get(timeout=PATIENCE_SECONDS, disable_sync_subtasks=False)
    good, bad = result["ids"]
    assert result["queued"] == 1
    assert [entry["id"] for entry in result["failed"]] == [bad]
    stack.wait_told(good, "mail_queued", "mail_sent")
    stack.wait_told(bad, "mail_error", "noted:error")
    assert "mail_error" not in stack.told(good)


def test_one_broken_message_in_a_list_takes_no_other_down(stack: MailStack) -> None:
    good = {"to": ["a@example.com"], "subject": "x"}
    for position, broken in enumerate([5, {**good, "on_sent": 5}, {**good, "priority": "soon"}]):
        task_id = stack.tenant.message_id(f"list-{position}")
        stack.app.send_task("celery_mailproxy.send_many_via_proxy", args=[[good, broken, good]], task_id=task_id)
        stack.wait_told(f"{task_id}-0", "mail_sent")
        stack.wait_told(f"{task_id}-2", "mail_sent")
        stack.wait_told(f"{task_id}-1", "mail_rejected")


def test_an_unforeseen_error_is_tried_again_and_ends_the_mail(stack: MailStack) -> None:
    result = stack.send(subject=UNFORESEEN)
    stack.wait_told(result.id, "mail_error", "noted:error")
    with pytest.raises(Exception, match="unexpected ZeroDivisionError"):
        result.get(timeout=PATIENCE_SECONDS)
    delivery = stack.delivery(result.id)
    assert (delivery.status, "unexpected ZeroDivisionError" in delivery.reason) == (Status.ERROR, True)
    assert len(re.findall(rf"{result.id}\] retry: Retry in ", stack.worker.log)) == 2
    # Nothing of what the error itself says: it quotes the mail.
    assert "to@example.com" not in stack.worker.log


def test_the_result_of_a_mail_that_meets_an_unforeseen_error_fails(stack: MailStack) -> None:
    mail = {"to": ["ann@example.com"], "subject": UNFORESEEN, **callbacks(stack)}
    result = stack.app.tasks["celery_mailproxy.deliver_via_proxy"].delay(**mail)
    with pytest.raises(DeliveryError, match="unexpected ZeroDivisionError"):
        result.get(timeout=PATIENCE_SECONDS)
    stack.wait_told(result.id, "mail_error", "noted:error")


def test_one_mail_of_a_list_that_meets_an_unforeseen_error_takes_no_other_down(stack: MailStack) -> None:
    good, bad = ({"to": ["a@example.com"], "subject": subject} for subject in ("x", UNFORESEEN))
    task_id = stack.tenant.message_id("unforeseen")
    stack.app.send_task(
        "celery_mailproxy.send_many_via_proxy", args=[[good, bad, good]], kwargs=callbacks(stack), task_id=task_id
    )
    stack.wait_told(f"{task_id}-0", "mail_sent")
    stack.wait_told(f"{task_id}-2", "mail_sent")
    stack.wait_told(f"{task_id}-1", "mail_error", "noted:error")


def test_an_id_that_another_tenant_has_is_refused_and_harms_nobody(stack: MailStack, proxy: FakeProxy) -> None:
    other = tenant_of(proxy)
    message_id = stack.tenant.message_id("shared")
    first = stack.send(message_id=message_id)
    stack.wait_told(message_id, "mail_sent")
    second = stack.send(message_id=message_id, tenant_id=other.id, account_id=other.account_id)
    with pytest.raises(Exception, match="in use for another email"):
        second.get(timeout=PATIENCE_SECONDS)
    assert first.get(timeout=PATIENCE_SECONDS)["queued"] == 1
    assert stack.told(message_id)["mail_rejected"] == 0


def test_a_chain_goes_on_once_after_many_mails(stack: MailStack) -> None:
    mails = [{"to": [f"c{n}@example.com"], "subject": "x"} for n in range(5)]
    many = stack.app.tasks["celery_mailproxy.send_many_via_proxy"]
    report = {"message_id": "chained", "kind": "none"}
    after = stack.app.signature(f"{MODULE}.noted", args=(report,), kwargs={"tag": "after"}, immutable=True)
    result = chain(many.s(mails), after).apply_async()
    assert result.get(timeout=PATIENCE_SECONDS) == "after"
    assert result.parent.get(timeout=PATIENCE_SECONDS)["queued"] == 5
    assert stack.told("chained") == {"noted:after": 1}


def test_a_list_that_was_published_in_part_can_be_repeated(
    stack: MailStack, proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = stack.app.tasks["celery_mailproxy.send_many_via_proxy"]
    mails = [{"to": [f"r{n}-{stack.tenant.suffix}@example.com"], "subject": "x"} for n in range(4)]
    send_task = stack.app.send_task
    calls = []

    def fail_the_second(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise OperationalError("the broker went away")
        return send_task(*args, **options)

    monkeypatch.setattr(stack.app, "send_task", fail_the_second)
    task_id = stack.tenant.message_id("campaign")
    with pytest.raises(OperationalError):
        task.apply_async((mails,), task_id=task_id)
    task.apply_async((mails,), task_id=task_id)
    for n in range(4):
        stack.wait_told(f"{task_id}-{n}", "mail_sent")
    ids = [message["id"] for message in proxy.received if message["id"].startswith(task_id)]
    assert sorted(ids) == [f"{task_id}-{n}" for n in range(4)]


def test_a_worker_killed_while_it_gives_a_mail_up_tells_of_it_later(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    tenant = tenant_of(proxy)
    conf = {"mail_proxy_max_retries": 0}
    with MailStack(tenant, broker_url=redis_server.url, proxy_url="http://127.0.0.1:9", conf=conf) as stack:
        message_id = tenant.message_id("given-up")
        hung = stack.hang_where_told(message_id, "error")
        stack.send(message_id=message_id)
        stack.wait_until(hung.exists, what="the handler")
        stack.kill_worker()
        stack.worker.start()
        stack.wait_until(lambda: stack.told(message_id)["mail_error"] == 2, what="the second try")
        stack.wait_told(message_id, "noted:error")


@pytest.fixture(scope="module")
def expiring(proxy: FakeProxy, redis_server: RedisServer) -> Iterator[tuple[MailStack, Any, Any]]:
    """A mail, and one to each of two recipients, whose proxy is away until their tasks expire."""
    with MailStack(tenant_of(proxy), broker_url=redis_server.url, proxy_url="http://127.0.0.1:9") as stack:
        task = stack.app.tasks["celery_mailproxy.send_via_proxy"]
        kwargs = {"to": ["ann@example.com", "bob@example.com"], "subject": "x", **callbacks(stack)}
        # Long enough for the first try to begin on a busy machine, and for both at once.
        common, each = (
            task.apply_async(kwargs={**kwargs, "per_recipient": is_each}, expires=30) for is_each in (False, True)
        )
        yield stack, common, each


def test_a_mail_whose_task_expires_between_retries_ends_as_error(expiring: tuple[MailStack, Any, Any]) -> None:
    stack, result, _ = expiring
    stack.wait_told(result.id, "mail_error", "noted:error")
    assert f"{result.id}] retry: Retry in" in stack.worker.log
    assert stack.delivery(result.id).reason == "the task expired before the email was sent"


def test_mails_to_each_recipient_whose_task_expires_between_retries_end_as_error(
    expiring: tuple[MailStack, Any, Any],
) -> None:
    stack, _, result = expiring
    for number in range(2):
        stack.wait_told(f"{result.id}-{number}", "mail_error", "noted:error")
        assert stack.delivery(f"{result.id}-{number}").reason == "the task expired before the email was sent"
    stack.wait_until(lambda: stack.delivery(result.id).is_ended, what="the end of the whole")
    # That the task was revoked is Celery's own.
    assert not stack.told(result.id).keys() - {"task_revoked"}


@pytest.mark.parametrize("ended", ["revoked", "expired"])
def test_a_mail_whose_result_waits_ends_with_its_task(proxy: FakeProxy, redis_server: RedisServer, ended: str) -> None:
    """Between two tries: nothing submits it later, and no link runs after REVOKED."""
    with MailStack(tenant_of(proxy), broker_url=redis_server.url, proxy_url="http://127.0.0.1:9") as stack:
        task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
        mail = task.s(to=["ann@example.com"], subject="x", **callbacks(stack))
        mail.link(stack.app.signature(f"{MODULE}.add", kwargs={"number": 1}))
        result = mail.apply_async(expires=4 if ended == "expired" else None)
        stack.wait_until(lambda: "Retry in" in stack.worker.log, what="the first try")
        if ended == "revoked":
            assert stack.app.control.revoke(result.id, reply=True, limit=1, timeout=PATIENCE_SECONDS)
        stack.wait_told(result.id, "mail_error", "noted:error", "task_revoked")
        what = {"revoked": "was revoked", "expired": "expired"}[ended]
        stack.wait_until(lambda: stack.delivery(result.id).suspension.state.value == "done", what="the tombstone")
        assert stack.delivery(result.id).reason == f"the task {what} before the email was sent"
        assert result.state == "REVOKED"
        # Whatever the janitor thinks of it.
        runtime = get_runtime(stack.app)
        later = utcnow() + timedelta(hours=9)
        moved = move_on_stalled(runtime, now=later, lease_seconds=600, limit=100)
        assert set(moved.values()) == {0}
        stack.drain()
        assert stack.told(result.id).keys() & {"mail_error", "mail_queued", "mail_sent"} == {"mail_error"}
        assert [event for event in stack.events if event["name"] == "add"] == []
        assert result.state == "REVOKED"


def test_a_revoked_mail_whose_worker_died_before_it_could_be_ended_is_ended_by_the_janitor(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    # A database of its own: what is lost there is no other test's.
    broker_url = redis_server.url_of(9)
    with MailStack(tenant_of(proxy), broker_url=broker_url, proxy_url="http://127.0.0.1:9") as stack:
        task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
        result = task.apply_async(kwargs={"to": ["ann@example.com"], "subject": "x", **callbacks(stack)})
        stack.wait_until(lambda: "Retry in" in stack.worker.log, what="the first try")
        stack.worker.kill()
        # As the dead worker left it: Celery has stored the state and acknowledged the task, and said so to nobody.
        stack.app.backend.mark_as_revoked(result.id, "revoked")
        with redis.Redis.from_url(broker_url) as client:
            client.delete(stack.queue, "unacked", "unacked_index")
        stack.worker.start()
        _make_older(stack, result.id, timedelta(hours=3))
        moved = move_on_stalled(get_runtime(stack.app), now=utcnow(), lease_seconds=600, limit=100)
        assert {name: number for name, number in moved.items() if number} == {"revoked": 1}
        stack.wait_until(lambda: stack.delivery(result.id).is_ended, what="the end")
        assert stack.delivery(result.id).reason == "the task was revoked before the email was sent"
        assert stack.delivery(result.id).suspension.state.value == "done"
        assert result.state == "REVOKED"


def _make_older(stack: MailStack, message_id: str, by: timedelta) -> None:
    """Let the suspended result be silent for so long already."""
    store = get_runtime(stack.app).store
    delivery = store.get(message_id)
    assert delivery is not None
    assert delivery.suspension is not None
    older = replace(delivery, suspension=replace(delivery.suspension, since=delivery.suspension.since - by))
    with store._transaction() as rows:  # type: ignore[attr-defined]
        rows.load([message_id])
        rows.save([older])


def test_a_worker_with_wrong_settings_does_not_start(redis_server: RedisServer) -> None:
    conf = {"broker_url": redis_server.url, "mail_proxy_urll": "http://x"}
    worker = CeleryWorker(MODULE, env={"TEST_CONF": json.dumps(conf)})
    with pytest.raises(Exception, match="unknown setting mail_proxy_urll"), worker:
        pass


@pytest.mark.parametrize("name", ["send_via_proxy", "deliver_via_proxy"])
def test_mails_go_on_after_answers_that_are_not_the_proxys(redis_server: RedisServer, name: str) -> None:
    with FakeProxy("entities") as proxy:
        odd = [
            answer({}),
            answer({"ok": False}),
            answer({"ok": True, "rejected": 5}),
            answer(b"<html>We are back soon</html>"),
            answer(b'{"ok": tr'),
            answer(b"[" * 50_000),
            answer(b"not gzip", "Content-Encoding: gzip"),
            answer(b"", status="202 Accepted"),
            answer(b"", "Location: https://login.example.com/", status="302 Found"),
            answer(b"", status="407 Proxy Authentication Required"),
            answer({"detail": "Not Found"}, status="404 Not Found"),
            answer(b"<html>Bad Request</html>", status="400 Bad Request"),
        ]

        def script(request: bytes) -> Iterable[bytes]:
            """In place of the proxy, until all of them have been given."""
            if odd:
                return [odd.pop(0)]
            head, _, body = request.partition(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n")[0].decode().split()
            headers = {"X-API-Token": proxy.token, "Content-Type": "application/json"}
            passed = httpx.request(method, f"{proxy.url}{path}", content=body, headers=headers, trust_env=False)
            return [answer(passed.content, status=f"{passed.status_code} OK")]

        conf = {"mail_proxy_api": "entities"}
        with (
            RawServer(script) as server,
            MailStack(tenant_of(proxy), broker_url=redis_server.url, proxy_url=server.url, conf=conf) as stack,
        ):
            mail = {"to": ["ann@example.com"], "subject": "x", "body": "b"}
            result = stack.app.tasks[f"celery_mailproxy.{name}"].delay(**mail)
            stack.wait_told(result.id, "mail_queued", "mail_sent")
            assert result.get(timeout=PATIENCE_SECONDS)
            assert odd == []
            assert stack.told(result.id)["mail_error"] == 0
        assert len(proxy.delivered) == 1
