"""The constructs once more with the real proxy, on both APIs: a mail is sent when an SMTP server has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import chain, chord, group

from celery_mailproxy import DeliveryError
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from .canvas import Canvas

pytestmark = pytest.mark.integration

#: The sink refuses it.
REFUSED = "spam"


@pytest.fixture(scope="module")
def canvas(real_proxy: RealProxy, sink: MailSink, redis_server: RedisServer) -> Iterator[Canvas]:
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=sink.host, smtp_port=sink.port)
    conf = {"result_backend": redis_server.url_of(5)}
    with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
        canvas = Canvas(stack, relay=None, backend="redis")
        yield canvas
        canvas.assert_all_ran()


def test_get(canvas: Canvas, sink: MailSink) -> None:
    ann = f"ann-{canvas.stack.tenant.suffix}"
    good, bad = canvas.mail(ann).delay(), canvas.mail(REFUSED).delay()
    canvas.wait_sent(good)
    assert len(sink.mails_to(f"{ann}@example.com")) == 1
    canvas.wait_failed(bad)
    with pytest.raises(DeliveryError) as caught:
        canvas.get(bad)
    assert "554" in str(caught.value.reason)
    assert caught.value.message_id == bad.id


def test_a_chain(canvas: Canvas) -> None:
    between, then = canvas.once(), canvas.once()
    good = chain(canvas.mail(), between, canvas.mail(), then).apply_async()
    bad = chain(canvas.mail(REFUSED), canvas.never()).apply_async()
    assert canvas.wait(between)["kind"] == canvas.wait(then)["kind"] == "sent"
    canvas.returns(good, then.kwargs["number"])
    canvas.wait_failed(bad.parent)


def test_a_group(canvas: Canvas) -> None:
    result = group(canvas.mail(), canvas.mail(REFUSED), canvas.mail()).apply_async()
    first, refused, last = result.results
    canvas.wait_sent(first, last)
    canvas.wait_failed(refused)


def test_a_chord(canvas: Canvas) -> None:
    body, failing = canvas.once(), canvas.never()
    failing.on_error(canvas.task("failed"))
    good = chord([canvas.mail() for _ in range(5)], body).apply_async()
    bad = chord([canvas.mail(), canvas.mail(REFUSED)], failing).apply_async()
    assert [report["kind"] for report in canvas.wait(body)] == ["sent"] * 5
    canvas.returns(good, body.kwargs["number"])
    canvas.wait_told(bad, "failed")


def test_a_link_error(canvas: Canvas) -> None:
    link = canvas.once()
    good = canvas.mail().apply_async(link=link, link_error=canvas.task("failed"))
    bad = canvas.mail(REFUSED).apply_async(link=canvas.never(), link_error=canvas.task("failed"))
    assert canvas.wait(link)["message_id"] == good.id
    assert canvas.wait_told(bad, "failed")["error"] == "DeliveryError"
    assert canvas.told(good, "failed") == []
