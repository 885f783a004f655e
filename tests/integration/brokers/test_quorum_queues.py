"""Quorum queues with Celery's default exchange: retries wait in RabbitMQ, and stop no worker."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from celery_mailproxy.cli.check.app_links import check_queues
from celery_mailproxy.cli.check.links import Outcome
from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RabbitServer

pytestmark = pytest.mark.integration

WAITING = 20


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stack(proxy: FakeProxy, rabbit_server: RabbitServer) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy, smtp_host="127.0.0.1", smtp_port=25).add()
    conf = {"task_default_queue_type": "quorum", "worker_prefetch_multiplier": 1}
    with MailStack(tenant, broker_url=rabbit_server.url, conf=conf, options=("--concurrency", "2")) as stack:
        yield stack


def test_waiting_retries_do_not_stop_a_worker(stack: MailStack, proxy: FakeProxy) -> None:
    proxy.fail_next(WAITING, status=503, retry_after_seconds=1000)
    mails = [stack.send() for _ in range(WAITING)]
    stack.wait_until(lambda: stack.worker.log.count("Retry in 1000") == WAITING, what="all of them wait")
    # With a place of the prefetch for each that waits, the worker would take nothing more.
    stack.app.send_task(f"{MODULE}.add", kwargs={"number": 1})
    stack.wait_told("1", "add")
    after = stack.send()
    stack.wait_told(after.id, "mail_sent", "noted:sent")
    assert not any("mail_sent" in stack.told(mail.id) for mail in mails)


def test_what_is_left_is_said_by_the_worker_and_by_check(stack: MailStack) -> None:
    said = f"{stack.queue}: with quorum queues and a direct exchange, each task with a countdown of its own holds"
    assert said in stack.worker.log
    link = check_queues(stack.app, timeout_seconds=30)
    assert link is not None
    assert (link.outcome, "direct exchange" in link.found) == (Outcome.WARNING, True)


def test_a_retry_comes_back_and_may_wait_again(stack: MailStack, proxy: FakeProxy) -> None:
    proxy.fail_next(2, status=503, retry_after_seconds=2)
    before = stack.worker.log.count("Retry in 2")
    mail = stack.send()
    stack.wait_told(mail.id, "mail_queued", "mail_sent", "noted:sent")
    assert stack.worker.log.count("Retry in 2") == before + 2
    # Celery warns of what it would do with a countdown here.
    assert "Direct exchanges are not supported" not in stack.worker.log


def test_a_mail_whose_submission_was_delayed_completes_its_result(stack: MailStack, proxy: FakeProxy) -> None:
    proxy.fail_next(1, status=503, retry_after_seconds=1)
    mail = stack.app.tasks["celery_mailproxy.deliver_via_proxy"].delay(to=["to@example.com"], subject="S", body="B")
    stack.wait_told(mail.id, "mail_sent", "task_success")


def test_a_parked_report_waits_there_too(stack: MailStack) -> None:
    """Of a message that is registered only after the report has come."""
    message_id = stack.tenant.message_id("parked")
    assert stack.post_reports({"id": message_id, "sent_ts": int(time.time())}).status_code == 200
    stack.wait_until(lambda: stack.worker.log.count("dispatch_reports") >= 2, what="the report is looked at")
    stack.send(message_id=message_id, send_at=time.time() + 3600)
    stack.wait_told(message_id, "mail_sent", "noted:sent")
