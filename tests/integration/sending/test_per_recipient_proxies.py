"""A message for each recipient, on a proxy that refuses at once, and on the real ones."""

from __future__ import annotations

import pytest

from celery_mailproxy import DeliveryError, MessageRejected, Status
from celery_mailproxy.testing import FakeProxy, MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS
from .per_recipient import address, callbacks, deliver, mail

pytestmark = pytest.mark.integration


def test_a_refused_recipient_does_not_take_the_others_down(redis_server: RedisServer) -> None:
    # This API refuses a mail of an unknown account at once.
    with FakeProxy("commands") as proxy:
        tenant = ProxyTenant(proxy=proxy)
        conf = {"result_backend": redis_server.url_of(7)}
        with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
            first = deliver(stack, "ann", "bob", account_id="nobody").delay()
            with pytest.raises(DeliveryError, match="account not found"):
                first.get(timeout=PATIENCE_SECONDS)
            collected = (
                deliver(stack, "ann", "bob", account_id="nobody", collect=True).delay().get(timeout=PATIENCE_SECONDS)
            )
            assert collected["error"] == dict.fromkeys([address("ann"), address("bob")], "account not found")
            sent_result = stack.app.tasks["celery_mailproxy.send_via_proxy"].delay(
                **mail("ann", "bob", account_id="nobody")
            )
            with pytest.raises(MessageRejected, match="account not found"):
                sent_result.get(timeout=PATIENCE_SECONDS)
            stack.wait_until(lambda: stack.delivery(sent_result.id).status is Status.ERROR, what="the end")


def test_on_the_real_proxy_each_gets_the_mail_that_all_see(
    real_proxy: RealProxy, mail_sink: MailSink, redis_server: RedisServer
) -> None:
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
    with MailStack(tenant, broker_url=redis_server.url, conf={"result_backend": redis_server.url_of(7)}) as stack:
        to, cc, bcc = ["Ann Dö <ann@example.com>", address("spam")], [address("cid")], [address("dan")]
        arguments = mail(cc=cc, bcc=bcc, return_path="bounces@example.com", **callbacks(stack)) | {"to": to}
        result = stack.app.tasks["celery_mailproxy.deliver_via_proxy"].delay(**arguments)
        report = result.get(timeout=PATIENCE_SECONDS)
        assert report["sent"] == [address(name) for name in ("ann", "cid", "dan")]
        assert list(report["error"]) == [address("spam")]
        assert "554" in report["error"][address("spam")]
        stack.wait_told(report["ids"][address("dan")], "noted:sent")
        stack.wait_told(report["ids"][address("spam")], "noted:error")
        hidden = stack.app.tasks["celery_mailproxy.send_via_proxy"].delay(
            **mail(bcc=[address("eve"), address("fay")]) | {"to": []}
        )
        assert hidden.get(timeout=PATIENCE_SECONDS)["queued"] == 2
        stack.wait_until(lambda: stack.delivery(hidden.id).status is Status.SENT, what="the blind copies")
    mails = {each.rcpt_to: each for each in mail_sink.mails}
    shown = [each for recipients, each in mails.items() if recipients in {(to,) for to in report["sent"]}]
    assert len(shown) == 3
    for each in shown:
        assert each.mail_from == "bounces@example.com"
        assert each.message["To"] == "Ann Dö <ann@example.com>, spam@example.com"
        assert each.message["Cc"] == "cid@example.com"
        assert each.message["Bcc"] is None
        assert each.message["Resent-Bcc"] is None
        assert each.message["Resent-To"] is None
    assert len({each.message["Message-ID"] for each in shown}) == 1
    assert (
        mails[(address("eve"),)].message["To"] == mails[(address("fay"),)].message["To"] == "undisclosed-recipients:;"
    )
