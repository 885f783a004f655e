"""A worker reads the bounce mailbox by itself, on a real IMAP server."""

from __future__ import annotations

import pytest

from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import MailSink
from tests.harness.imap_server import ImapServer
from tests.harness.mail_stack import MailStack
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer
from tests.harness.waiting import wait_until
from tests.integration.bounces.test_whole_way import notice, sent_mail
from tests.unit.bounces.boxes import FilledImap

pytestmark = [pytest.mark.integration]


def test_worker_reads_bounces_as_part_of_its_maintenance(
    tenant: ProxyTenant, mail_sink: MailSink, redis_server: RedisServer, imap_server: ImapServer
) -> None:
    box = FilledImap(imap_server, folder="duty")
    conf = {"mail_proxy_bounce_mailbox": box.url, "mail_proxy_maintenance_seconds": 0.2}
    with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
        message_id, mail = sent_mail(stack, mail_sink, 1)
        # Without VERP: by the Message-ID of the mail that comes back.
        assert mail.mail_from == "shop@example.com"
        box.deliver(b"From: ann@example.com\nSubject: Re: Mail 1\n\nThank you.\n", notice(mail.raw, to=mail.mail_from))
        # Its next time would come within a minute.
        get_runtime(stack.app).store.set_value("maintenance", None)
        stack.wait_told(message_id, "mail_bounced")
        wait_until(lambda: box.seen() == [False, True], lambda: f"{box.seen()}\n{stack.worker.log[-2000:]}")
        assert str(stack.delivery(message_id).status) == "bounced"
    assert imap_server.url().split(":")[2].split("@")[0] not in stack.worker.log
