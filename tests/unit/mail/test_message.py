"""`MailMessage`: from a caller's arguments, to JSON and back."""

from __future__ import annotations

import json

from celery_mailproxy.mail.message import Attachment, MailMessage, Priority
from tests.unit.mail.mails import mail


def test_plain_arguments_become_a_message() -> None:
    message = mail(subject="Hi", body="text", priority="HIGH", tenant_id=7, send_at=100)

    assert message.from_email == "a@example.com"
    assert message.to == ("b@example.com",)
    assert message.priority is Priority.HIGH
    assert message.tenant_id == "7"
    assert message.send_at == 100
    assert message.server == "default"
    assert message.recipients == ("b@example.com",)
    assert "text" not in repr(message)


def test_message_survives_json() -> None:
    message = mail(
        subject="é",
        body="b",
        html_body="<p>",
        cc="c@example.com",
        bcc=["d@example.com"],
        headers={"X-A": "1"},
        attachments=[("a.txt", "é"), Attachment.from_endpoint("id=7", filename="i.pdf")],
        priority=0,
        reply_to="r@example.com",
        batch_code="c1",
        send_at=5,
        account_id="acc",
    )

    assert MailMessage.from_json(json.loads(json.dumps(message.to_json()))) == message


def test_arguments_message_id_wins() -> None:
    assert mail(message_id="own").message_id == "own"
