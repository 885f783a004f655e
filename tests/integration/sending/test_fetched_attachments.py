"""Attachments that the real proxies fetch from the worker's receiver, with the tenant's credentials."""

from __future__ import annotations

from typing import Any

import pytest

from celery_mailproxy import Attachment
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.integration


def test_a_reference_arrives_as_its_content(
    real_proxy: RealProxy, mail_sink: MailSink, redis_server: RedisServer
) -> None:
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
    with MailStack(tenant, broker_url=redis_server.url) as stack:
        attachments = [
            Attachment.from_endpoint("greeting=Ann", filename="ann.txt"),
            Attachment(filename="own.txt", content=b"Mine\n"),
        ]
        if real_proxy.api == "entities":
            # 0.5.0 asks by POST, which nothing answers here.
            attachments.append(Attachment.from_url(f"http://127.0.0.1:{stack.port}/health", filename="health.json"))
        result = stack.send(attachments=attachments, callbacks=False)
        (received,) = mail_sink.wait_for(1, timeout_seconds=PATIENCE_SECONDS)
        stack.wait_until(lambda: stack.delivery(result.id).status.value == "sent", what="the report")
        (held,) = real_proxy.messages(tenant.id)
    parts: dict[Any, Any] = {
        part.get_filename(): part.get_payload(decode=True) for part in received.message.iter_attachments()
    }
    assert parts["ann.txt"] == b"Hello, Ann!\n"
    assert b"ok" in parts.get("health.json", b"ok")
    assert parts["own.txt"].replace(b"\r\n", b"\n") == b"Mine\n"
    assert "Hello" not in str(held)
