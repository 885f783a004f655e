"""No log holds a mail's text or an address, whatever the level: a real worker at DEBUG, and all that logs in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ..conftest import Broker

pytestmark = [pytest.mark.integration, pytest.mark.long(80), pytest.mark.full_with("rabbitmq")]

#: None of these may stand in a log: words of bodies, of subjects, names and mailboxes.
WORDS = ("Geheimtext", "Betreffwort", "Vornamewort", "mailboxword")

ADDRESS = "Vornamewort <mailboxword-{}@example.com>"


@pytest.fixture(scope="module")
def sink() -> Iterator[MailSink]:
    with MailSink() as sink:
        yield sink


@pytest.fixture(scope="module")
def stack(real_proxy: RealProxy, broker: Broker, sink: MailSink) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=sink.host, smtp_port=sink.port)
    with MailStack(tenant, broker_url=broker.url, options=("-l", "DEBUG")) as stack:
        yield stack


def mail(name: str, **more: Any) -> dict[str, Any]:
    return {"subject": "Betreffwort", "body": "Geheimtext", "to": [ADDRESS.format(name)], **more}


@pytest.mark.parametrize("real_proxy", ["entities"], indirect=True)
def test_a_worker_at_debug_logs_no_mail(stack: MailStack) -> None:
    tasks = stack.app.tasks
    told = {tag: stack.app.signature(f"{MODULE}.noted", kwargs={"tag": tag}) for tag in ("sent", "error")}
    callbacks = {f"on_{tag}": signature for tag, signature in told.items()}
    sent = tasks["celery_mailproxy.send_via_proxy"].delay(**mail("sent"), **callbacks)
    followed = tasks["celery_mailproxy.deliver_via_proxy"].apply_async(kwargs=mail("followed"), link=told["sent"])
    many = tasks["celery_mailproxy.send_many_via_proxy"].delay([mail(f"many-{number}") for number in range(3)])
    each = tasks["celery_mailproxy.send_via_proxy"].delay(
        **mail("each", cc=[ADDRESS.format("copy")], per_recipient=True), **callbacks
    )
    own = stack.app.signature(f"{MODULE}.welcome", kwargs=mail("own")).delay()
    chain = (
        stack.app.signature(f"{MODULE}.render", (1,)) | tasks["celery_mailproxy.send_via_proxy"].s(**mail("c"))
    ).delay()
    # The proxy reports a reason that quotes the recipient.
    refused = tasks["celery_mailproxy.send_via_proxy"].delay(**mail("later", to=["later-mailboxword@example.com"]))
    stack.post_reports(
        {"id": "elsewhere", "error_ts": 1795324468, "error": "550 <mailboxword-x@example.com> Geheimtext unknown"}
    )
    for message_id in (sent.id, followed.id, own.id, chain.id):
        stack.wait_told(message_id, "mail_sent")
    stack.wait_told(refused.id, "mail_deferred")
    stack.wait_until(lambda: stack.told(f"{each.id}-1")["mail_sent"], what="the second recipient")
    stack.wait_until(lambda: stack.told(f"{many.id}-2")["mail_sent"], what="the last of many")
    stack.wait_until(lambda: stack.told("elsewhere")["mail_error"], what="the parked report")
    log = stack.worker.log
    assert "DEBUG" in log
    assert sent.id in log
    leaks = [line for line in log.splitlines() if re.search("|".join(WORDS), line)]
    assert leaks == []
