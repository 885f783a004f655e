"""Uses of the public names that a type checker has to refuse; nothing runs them.

Each `type: ignore` names the error. One that passes is an unused ignore, which `mypy --strict` refuses.
"""

from __future__ import annotations

from typing import Any

import celery_mailproxy
from celery_mailproxy import (
    Attachment,
    Delivery,
    DeliveryError,
    DeliveryReport,
    InvalidMessage,
    Kind,
    MailMessage,
    MessageRejected,
    Priority,
    ProxyClient,
    ProxyUnavailable,
    ReportReceiver,
    Status,
    attachment_resolver,
    deliver_many_via_proxy,
    deliver_via_proxy,
    get_delivery,
    send_many_via_proxy,
    send_via_proxy,
)
from celery_mailproxy import get_delivry as misspelt  # type: ignore[attr-defined]


def names() -> None:
    print(misspelt, celery_mailproxy.get_delivry)  # type: ignore[attr-defined]


def functions(app: Any) -> None:
    get_delivery(7)  # type: ignore[arg-type]
    get_delivery("id", app)  # type: ignore[call-arg]
    get_delivery("id").status  # type: ignore[union-attr]  # noqa: B018
    deliver_many_via_proxy("ann@example.com")  # type: ignore[arg-type]
    deliver_many_via_proxy([{"to": "ann@example.com"}], True)  # type: ignore[call-arg]
    deliver_many_via_proxy([], collect="yes")  # type: ignore[arg-type]
    attachment_resolver(7)  # type: ignore[call-overload]
    attachment_resolver(resolver_or_key="invoice_id")  # type: ignore[call-overload]


def tasks() -> None:
    send_via_proxy.delay(subjct="S")  # type: ignore[call-arg]
    send_via_proxy.s(recipients=["a@example.com"])  # type: ignore[call-arg]
    send_via_proxy.si(collect=True)  # type: ignore[call-arg]
    send_via_proxy(to=7)  # type: ignore[arg-type]
    send_via_proxy.delay("a@example.com")  # type: ignore[arg-type]
    send_via_proxy.delay(attachments=["a.pdf"])  # type: ignore[list-item]
    deliver_via_proxy.delay(colect=True)  # type: ignore[call-arg]
    deliver_via_proxy.delay(per_recipient="yes")  # type: ignore[arg-type]
    send_many_via_proxy.delay()  # type: ignore[call-arg]
    send_many_via_proxy.delay([{}], per_recipient=True)  # type: ignore[call-arg]


def values(attachment: Attachment, delivery: Delivery, report: DeliveryReport, message: MailMessage) -> None:
    Attachment("a.txt", b"")  # type: ignore[call-arg]
    Attachment(filename="a.txt", content="text")  # type: ignore[arg-type]
    Attachment(filename="a.txt", content=b"", disposition="form-data")  # type: ignore[arg-type]
    Attachment(storage_path="a=1", fetch_mode="ftp")  # type: ignore[arg-type]
    Attachment.from_endpoint("a=1")  # type: ignore[call-arg]
    attachment.content = b""  # type: ignore[misc]
    delivery.status = Status.SENT  # type: ignore[misc]
    delivery.body  # type: ignore[attr-defined]  # noqa: B018
    delivery.outcome.reason  # type: ignore[union-attr]  # noqa: B018
    DeliveryReport(kind="sent", message_id="id", at=report.at)  # type: ignore[arg-type]
    DeliveryReport(kind=Kind.SENT, message_id="id")  # type: ignore[call-arg]
    report.reason = None  # type: ignore[misc]
    MailMessage(message_id="id", from_email="a@example.com", to="b@example.com")  # type: ignore[arg-type]
    MailMessage.from_arguments({"to": "b@example.com"})  # type: ignore[call-arg]
    message.priority = Priority.HIGH  # type: ignore[misc]
    Priority.URGENT  # type: ignore[attr-defined]  # noqa: B018
    Status.FAILED  # type: ignore[attr-defined]  # noqa: B018
    Kind.FAILED  # type: ignore[attr-defined]  # noqa: B018


def parts(receiver: ReportReceiver, client: ProxyClient) -> None:
    ReportReceiver(tokens={})  # type: ignore[call-arg]
    ReportReceiver(accept=print, tokens={"acme": "secret"})  # type: ignore[dict-item]
    ReportReceiver(accept=lambda report: report.at)  # type: ignore[attr-defined]
    receiver.handle(b"body")  # type: ignore[arg-type]
    receiver.handle("POST", "/mail-proxy/sync")  # type: ignore[call-arg, arg-type]
    ProxyClient("http://proxy:8000")  # type: ignore[arg-type]
    client.submit({"id": "id"})  # type: ignore[arg-type]
    client.holds("id")  # type: ignore[call-arg]
    client.delete_messages("tenant")  # type: ignore[call-arg]


def errors() -> None:
    InvalidMessage("to")  # type: ignore[call-arg]
    MessageRejected("id")  # type: ignore[call-arg]
    DeliveryError("reason")  # type: ignore[call-arg]
    ProxyUnavailable("no", 503)  # type: ignore[call-arg]
    ProxyUnavailable("no", status="503")  # type: ignore[arg-type]
