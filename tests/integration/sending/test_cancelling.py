"""Cancelling on real parts: what counts as cancelled is in nobody's mailbox, whenever it was cancelled."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Any

import pytest

from celery_mailproxy import Cancellation, CancelOutcome, DeliveryCancelled, cancel, cancel_many
from celery_mailproxy.control.cancelling import Canceller
from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import MailSink, RealProxy
from celery_mailproxy.testing.ports import free_port

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.long(120)]

MODULE = "tests.harness.gate_app"

#: A proxy that cannot be reached.
AWAY = "away"


@pytest.fixture(scope="module")
def proxy(real_proxy: RealProxy) -> RealProxy:
    return real_proxy


@pytest.fixture(scope="module")
def stack(proxy: RealProxy, sink: MailSink, redis_server: RedisServer) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy, smtp_host=sink.host, smtp_port=sink.port)
    conf = {"mail_proxy_servers": {AWAY: {"url": f"http://127.0.0.1:{free_port()}"}}}
    with MailStack(tenant, broker_url=redis_server.url, module=MODULE, conf=conf) as stack:
        yield stack


def address(stack: MailStack, name: str) -> str:
    return f"{name}-{stack.tenant.suffix}@example.com"


def later(seconds: float = 3600) -> int:
    return int(time.time() + seconds)


def test_mail_that_waits_at_the_proxy_is_deleted_there(stack: MailStack, sink: MailSink, proxy: RealProxy) -> None:
    to = address(stack, "waits")
    result = stack.app.tasks["celery_mailproxy.deliver_via_proxy"].delay(
        to=[to], subject="S", body="B", send_at=later()
    )
    stack.wait_until(lambda: (found := stack.delivery(result.id)) and found.queued_at, what="the submission")
    assert cancel(result.id, app=stack.app).outcome is CancelOutcome.AT_PROXY
    with pytest.raises(DeliveryCancelled, match="deleted at the proxy"):
        result.get(timeout=PATIENCE_SECONDS)
    stack.drain()
    assert stack.told(result.id)["mail_cancelled"] == 1
    assert [each for each in proxy.messages(stack.tenant.id) if each["id"] == result.id] == []
    assert sink.mails_to(to) == []


def test_mail_that_waits_for_the_proxy_is_never_submitted(stack: MailStack, sink: MailSink) -> None:
    to = address(stack, "retried")
    result = stack.send(to=[to], server=AWAY)
    # Between two tries: the run that failed has said so.
    stack.wait_until(lambda: (found := stack.delivery(result.id)) and not found.run, what="the first try")
    assert cancel(result.id, app=stack.app).outcome is CancelOutcome.BEFORE_SUBMISSION
    with pytest.raises(DeliveryCancelled):
        result.get(timeout=PATIENCE_SECONDS)
    stack.drain()
    assert stack.told(result.id) == {"mail_cancelled": 1}
    assert sink.mails_to(to) == []


def test_mail_whose_task_is_yet_to_begin_is_never_submitted(stack: MailStack, sink: MailSink) -> None:
    to = address(stack, "unborn")
    assert cancel("unborn", app=stack.app).outcome is CancelOutcome.UNKNOWN
    result = stack.send_with_id("unborn", to=[to])
    with pytest.raises(DeliveryCancelled):
        result.get(timeout=PATIENCE_SECONDS)
    stack.drain()
    assert stack.told(result.id) == {"mail_cancelled": 1}
    assert (stack.delivery(result.id).status, sink.mails_to(to)) == (Status.CANCELLED, [])


def test_proxy_sends_a_mail_that_it_has_deleted(proxy: RealProxy) -> None:
    # Why one that is due never counts as deleted.
    with MailSink(delay_seconds=2.0) as slow:
        tenant = ProxyTenant(proxy=proxy, smtp_host=slow.host, smtp_port=slow.port).add()
        ids = [tenant.message_id(f"m{number}") for number in range(3)]
        assert proxy.submit([tenant.message(f"m{number}") for number in range(3)]).status_code == 200
        # The proxy is in the midst of it, and keeps its rows as they are.
        proxy.run_now(tenant.id)
        wait_until(lambda: "Attempting delivery" in proxy.log or slow.mails, lambda: proxy.log, pause_seconds=0.05)
        assert proxy.delete_messages(tenant.id, ids)["removed"] == 3
        # At least those that an SMTP server was given by then.
        wait_until(lambda: slow.mails, lambda: proxy.log)
        assert proxy.messages(tenant.id) == []
        tenant.add(None, active=False)


class Since(Enum):
    """From when on a mail's cancelling waits."""

    BEFORE_PUBLISHED = auto()  # It does not wait: the mail is published thereafter.
    PUBLISHED = auto()
    KNOWN = auto()  # The store knows the mail.


class Race:
    """Mails, each cancelled at a moment of its own on its way to the sink."""

    def __init__(self, stack: MailStack, seed: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        self._canceller = Canceller(get_runtime(stack.app), patience_seconds=0.2)

    def run(self, number: int) -> dict[str, Cancellation]:
        """Send so many; what cancelling each came to, by its address."""
        mails = [(address(self._stack, f"race-{number}-{index}"), *self._plan()) for index in range(number)]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda mail: self._race(*mail), mails))
        return {to: answer for (to, *_), answer in zip(mails, answers, strict=True)}

    def _plan(self) -> tuple[float | None, Since, float]:
        """When it is to be sent, from now on; since when the cancelling waits, and for how long."""
        # What is to be sent later is deleted just before, just after, and in good time.
        when = self._random.choice([None, None, 2.0, 6.0, 8.0, 3600.0])
        longest = 0.3 if when is None else min(when, 4.0)
        # However fast the worker is, some are cancelled before their task can begin.
        (since,) = self._random.choices(list(Since), weights=[1, 2, 7])
        return when, since, self._random.uniform(0.0, longest)

    def _race(self, to: str, when: float | None, since: Since, wait: float) -> Cancellation:
        mail: dict[str, Any] = {"to": [to]} if when is None else {"to": [to], "send_at": later(when)}
        message_id = uuid.uuid4().hex
        if since is Since.BEFORE_PUBLISHED:
            (answer,) = self._canceller.cancel([message_id])
            self._stack.send_with_id(message_id, **mail)
            return answer
        self._stack.send_with_id(message_id, **mail)
        if since is Since.KNOWN:
            wait_until(lambda: self._stack.delivery(message_id), lambda: self._stack.worker.log)
        time.sleep(wait)
        (answer,) = self._canceller.cancel([message_id])
        return answer


# In full for each API: 1,000 races.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", [100, pytest.param(500, marks=pytest.mark.full)])
def test_nothing_that_counts_as_cancelled_is_ever_sent(stack: MailStack, sink: MailSink, number: int) -> None:
    answers = Race(stack, seed=number).run(number)
    # What is to be sent later, and was not cancelled, is sent by then.
    time.sleep(9)
    stack.drain()
    counts = Counter(answer.outcome for answer in answers.values())
    never_sent = (CancelOutcome.BEFORE_SUBMISSION, CancelOutcome.AT_PROXY, CancelOutcome.UNKNOWN)
    sent = {to for to, answer in answers.items() if sink.mails_to(to)}
    assert {to for to, answer in answers.items() if answer.outcome in never_sent} & sent == set(), counts
    # It was a race.
    assert set(counts) >= {CancelOutcome.AT_PROXY, CancelOutcome.TOO_LATE, CancelOutcome.MAYBE_SENT}, counts
    assert sum(counts[each] for each in (CancelOutcome.BEFORE_SUBMISSION, CancelOutcome.UNKNOWN)) > 0, counts
    assert sent, counts
    for to, answer in answers.items():
        status = stack.delivery(answer.message_id).status
        if answer.outcome in never_sent:
            assert status is Status.CANCELLED, (to, answer)
            assert stack.told(answer.message_id)["mail_cancelled"] == 1, (to, answer)
        elif to in sent:
            assert status is not Status.CANCELLED, (to, answer)
            # The proxy does not report on what it has deleted.
            assert status in (Status.SENT, Status.ERROR), (to, answer)
        assert len(sink.mails_to(to)) <= 1


def test_waiting_campaign_is_cancelled_in_a_few_calls(stack: MailStack, sink: MailSink) -> None:
    mails = [{"to": [address(stack, f"campaign-{number}")], "subject": "S", "body": "B"} for number in range(60)]
    send_many = stack.app.tasks["celery_mailproxy.send_many_via_proxy"]
    ids = [
        each for chunk in send_many.delay(mails, send_at=later()).get(timeout=PATIENCE_SECONDS) for each in chunk["ids"]
    ]
    assert {each.outcome for each in cancel_many(ids, app=stack.app)} == {CancelOutcome.AT_PROXY}
    stack.drain()
    assert {stack.delivery(each).status for each in ids} == {Status.CANCELLED}
