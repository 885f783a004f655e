"""Mails whose To and Cc show others than get them, through the real proxies."""

from __future__ import annotations

from typing import Any

import pytest

from celery_mailproxy import send_via_proxy
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.integration

#: Longer than a line.
UNSUBSCRIBE = f"<https://example.com/leave/{'0123456789' * 15}>"
RAW = "From: app@example.com\nTo: List <list@example.com>\nSubject: raw\n\nB\n"


def test_the_arguments_get_the_mail_that_the_headers_show(
    real_proxy: RealProxy, mail_sink: MailSink, redis_server: RedisServer
) -> None:
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
    mails: list[dict[str, Any]] = [
        {
            "subject": "another",
            "body": "B",
            "to": ["ann@example.com"],
            "bcc": ["bob@example.com"],
            "headers": {"To": "Lüste <list@example.com>", "Cc": "cid@example.com", "List-Unsubscribe": UNSUBSCRIBE},
        },
        {"subject": "nobody", "body": "B", "to": "ann@example.com", "headers": {"To": "undisclosed-recipients:;"}},
        {"raw": RAW, "to": ["ann@example.com"], "cc": ["dan@example.com"]},
    ]
    with MailStack(tenant, broker_url=redis_server.url, conf={}) as stack:
        for mail in mails:
            stack.app.tasks[send_via_proxy.name].delay(**mail)
        found = {
            each.message["Subject"]: each for each in mail_sink.wait_for(len(mails), timeout_seconds=PATIENCE_SECONDS)
        }
    assert {subject: sorted(each.rcpt_to) for subject, each in found.items()} == {
        "another": ["ann@example.com", "bob@example.com"],
        "nobody": ["ann@example.com"],
        "raw": ["ann@example.com", "dan@example.com"],
    }
    assert found["another"].message["To"] == "Lüste <list@example.com>"
    assert found["another"].message["Cc"] == "cid@example.com"
    assert "".join(found["another"].message["List-Unsubscribe"].split()) == UNSUBSCRIBE
    assert "bob" not in str(found["another"].message)
    assert "ann" not in str(found["nobody"].message)
    assert found["raw"].message["To"] == "List <list@example.com>"
    assert "dan" not in str(found["raw"].message)
