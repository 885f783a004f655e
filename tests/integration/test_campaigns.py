"""Campaigns: a chord over many mails, whose body runs once when the last of them has ended; real workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord

from celery_mailproxy import deliver_many_via_proxy
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import error, sent

from ..harness.mail_stack import MODULE, MailStack
from ..harness.proxy_tenant import ProxyTenant
from ..harness.services import RedisServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    # This API refuses a mail of an unknown account at once; the other one reports it as an error later.
    with FakeProxy("commands") as proxy:
        proxy.plan("slow@example.com", sent(delay_seconds=1))
        proxy.plan("bad@example.com", error("550 no"))
        yield proxy


@pytest.fixture(scope="module")
def stack(proxy: FakeProxy, redis_server: RedisServer) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy, smtp_host="127.0.0.1", smtp_port=25)
    tenant.add()
    conf = {"result_backend": redis_server.url_of(6), "mail_proxy_resume_args_bytes": 200}
    with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
        yield stack


def mails(*names: str, **arguments: Any) -> list[dict[str, Any]]:
    return [{"to": [f"{name}@example.com"], "subject": f"For {name}", **arguments} for name in names]


def body(stack: MailStack) -> Any:
    return stack.app.signature(f"{MODULE}.summarise")


def test_the_body_runs_once_when_the_last_mail_has_ended(stack: MailStack) -> None:
    header = deliver_many_via_proxy(mails("ann", "slow", "bob"), app=stack.app, body="Hello")
    result = chord(header, body(stack)).apply_async()
    assert result.get(timeout=30) == {"number": 3}
    ids = [each.id for each in result.parent.results]
    assert len(set(ids)) == 3
    assert {stack.delivery(each).message_id for each in ids} == set(ids)


def test_without_collect_a_failing_mail_fails_the_chord(stack: MailStack) -> None:
    result = chord(deliver_many_via_proxy(mails("ann", "bad"), app=stack.app, body="x"), body(stack)).apply_async()
    with pytest.raises(Exception, match="was not delivered"):
        result.get(timeout=30)


def test_applied_twice_each_mail_is_sent_twice(stack: MailStack, proxy: FakeProxy) -> None:
    header = deliver_many_via_proxy(mails("ann", "bob"), app=stack.app, subject="Common", body="twice")
    for _ in range(2):
        assert len(header.apply_async().get(timeout=30)) == 2
    assert sum(message["body"] == "twice" for message in proxy.received) == 4


@pytest.mark.parametrize("text", ["short", "longer than what is kept of arguments " * 50], ids=["kept", "left out"])
def test_collect_gives_the_body_every_outcome(stack: MailStack, text: str) -> None:
    messages = [*mails("ann", "slow", "bad"), *mails("cid", account_id="nobody")]
    header = deliver_many_via_proxy(messages, collect=True, app=stack.app, body=text)
    # A task of Celery's own that returns what it gets.
    pass_on = stack.app.signature("celery.accumulate", kwargs={"index": 0})
    results = chord(header, pass_on).apply_async().get(timeout=30)
    assert Counter(each["outcome"] for each in results) == {"sent": 2, "error": 1, "rejected": 1}
    by_outcome = {each["outcome"]: each for each in results}
    assert by_outcome["error"]["reason"] == "550 no"
    assert by_outcome["rejected"]["reason"] == "account not found"
    assert by_outcome["sent"]["reason"] is None
    for each in results:
        assert each["report"]["message_id"] == each["message_id"]
        assert each["report"]["kind"] == each["outcome"]


def test_collect_takes_a_mail_in_that_the_worker_refuses(stack: MailStack) -> None:
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    render = stack.app.signature(f"{MODULE}.render", args=(7,))
    result = chain(render, task.s(collect=True)).apply_async()
    outcome = result.get(timeout=30)
    assert (outcome["message_id"], outcome["outcome"]) == (result.id, "rejected")
    assert outcome["reason"].startswith("to: ")
