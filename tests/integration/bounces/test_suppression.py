"""From a hard bounce to the mail that is not sent any more, on real parts; and the worker may be killed in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import MailSink
from tests.harness.mail_stack import MailStack
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer
from tests.integration.bounces.test_whole_way import notice, read
from tests.unit.bounces.boxes import FilledMaildir

pytestmark = [pytest.mark.integration]

ADDRESS = "ann@example.com"


@pytest.fixture
def box(tmp_path: Path) -> FilledMaildir:
    return FilledMaildir(tmp_path)


@pytest.fixture
def stack(tenant: ProxyTenant, redis_server: RedisServer, box: FilledMaildir) -> Iterator[MailStack]:
    conf = {
        "mail_proxy_bounce_mailbox": box.url,
        "mail_proxy_bounce_address": "bounces+{id}@shop.example.com",
        # Read when the test says so.
        "mail_proxy_maintenance_seconds": 0,
        "mail_proxy_suppression": True,
    }
    with MailStack(tenant, broker_url=redis_server.url, conf=conf, options=("--concurrency", "1")) as stack:
        yield stack


def test_a_worker_killed_before_it_notes_a_bounced_address_notes_it(
    stack: MailStack, mail_sink: MailSink, box: FilledMaildir
) -> None:
    message_id = str(stack.send(callbacks=False, to=[ADDRESS], subject="Suppressed").id)
    stack.wait_told(message_id, "mail_sent")
    (mail,) = (each for each in mail_sink.mails if each.message["Subject"] == "Suppressed")
    box.deliver(notice(mail.raw, to=mail.mail_from))
    hung = stack.hang_at("suppress", message_id)
    with stack.killed_when(hung.exists, what="the note of the address"):
        assert read(stack) == 0
    stack.wait_told(message_id, "mail_bounced")
    # It was noted before the handlers ran, and the next mail finds it.
    refused = str(stack.send(callbacks=False, to=[ADDRESS.upper()], subject="Not sent").id)
    stack.wait_told(refused, "mail_suppressed")
    assert (stack.told(message_id)["mail_bounced"], str(stack.delivery(refused).status)) == (1, "suppressed")
    kept = get_runtime(stack.app).store.suppression.find([ADDRESS])
    assert [(str(each.cause), each.message_id) for each in kept] == [("bounced", message_id)]
    assert "Not sent" not in [each.message["Subject"] for each in mail_sink.mails]
    assert ADDRESS not in stack.worker.log.lower()
