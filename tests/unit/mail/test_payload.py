from __future__ import annotations

import email
import json
from datetime import datetime, timezone
from email import policy
from email.message import EmailMessage
from typing import Any

import pytest

from celery_mailproxy.errors import UnsupportedMessage
from celery_mailproxy.mail.message import Attachment, MailMessage
from celery_mailproxy.mail.payload import encode
from tests.harness.read_mail import part_at

NOW = datetime(2030, 1, 31, 9, 0, 0, tzinfo=timezone.utc)
IMAGE = Attachment(filename="l.png", content=b"png", content_id="logo")


def encoded(**arguments: Any) -> dict[str, Any]:
    arguments = {"from_email": "a@example.com", "to": "b@example.com", **arguments}
    return encode(MailMessage.from_arguments(arguments, message_id="m1"), now=NOW)


def parsed(payload: dict[str, Any]) -> EmailMessage:
    """The tree in a payload, as the proxy's SMTP server gets it."""
    head = "".join(f"{name}: {value}\n" for name, value in payload["headers"].items() if name.startswith("Content-"))
    assert all(len(line) <= 78 for line in payload["body"].split("\n"))
    return email.message_from_bytes(f"{head}\n{payload['body']}".encode("ascii"), policy=policy.default)


def shape(part: Any) -> Any:
    kind = part.get_content_type().removeprefix("multipart/")
    return {kind: [shape(child) for child in part.get_payload()]} if part.is_multipart() else kind


def test_simple_mail_uses_the_proxy_s_own_fields() -> None:
    assert encoded(subject="Hé", body="té\n" + "x" * 2000, tenant_id="t", batch_code="c", send_at=5) == {
        "id": "m1",
        "tenant_id": "t",
        "batch_code": "c",
        "priority": 2,
        "deferred_ts": 5,
        "from": "a@example.com",
        "to": ["b@example.com"],
        "subject": "Hé",
        "body": "té\n" + "x" * 2000,
        "content_type": "plain",
        "message_id": "<m1@example.com>",
        "headers": {"Date": "Thu, 31 Jan 2030 09:00:00 +0000"},
    }


def test_html_alone_is_simple_too() -> None:
    payload = encoded(html_body="<p>é</p>")
    assert (payload["body"], payload["content_type"]) == ("<p>é</p>", "html")


def test_same_message_gives_the_same_object() -> None:
    arguments: dict[str, Any] = {"body": "t", "html_body": "h", "attachments": [("a.bin", b"\0"), IMAGE]}
    assert json.dumps(encoded(**arguments)) == json.dumps(encoded(**arguments))


def test_text_html_image_and_file_become_a_tree() -> None:
    payload = encoded(body="té", html_body="<p>", attachments=[("a.pdf", b"pdf"), IMAGE])
    tree = parsed(payload)
    assert shape(tree) == {
        "mixed": [{"alternative": ["text/plain", {"related": ["text/html", "image/png"]}]}, "application/pdf"]
    }
    assert "attachments" not in payload
    assert "content_type" not in payload
    image = part_at(tree, 0, 1, 1)
    assert (image["Content-ID"], image.get_content_disposition(), image.get_content()) == ("<logo>", "inline", b"png")


@pytest.mark.parametrize("text", ["a\0b", "bell\a", "form\ffeed"])
def test_control_characters_travel_as_base64(text: str) -> None:
    payload = encoded(body=text)
    assert payload["headers"]["Content-Transfer-Encoding"] == "base64"
    assert parsed(payload).get_content() == f"{text}\n"


def test_empty_subject_is_set_over_the_field() -> None:
    payload = encoded()
    assert (payload["subject"], payload["headers"]["Subject"]) == (" ", "")


def test_blind_copies_alone_have_an_undisclosed_recipient() -> None:
    payload = encoded(to=[], bcc="c@example.com")
    assert (payload["to"], payload["bcc"]) == (["undisclosed-recipients:;"], ["c@example.com"])


def test_named_sender_has_the_bare_return_path() -> None:
    payload = encoded(from_email="Jané <a@example.com>")
    assert (payload["from"], payload["return_path"]) == ("Jané <a@example.com>", "a@example.com")
    assert "return_path" not in encoded()
    assert encoded(return_path="bounce@example.com")["return_path"] == "bounce@example.com"


def test_own_message_id_and_date_are_kept() -> None:
    date = "Fri, 01 Feb 2030 10:00:00 +0100"
    payload = encoded(headers={"message-id": "<x@y>", "date": date})
    assert (payload["message_id"], payload["headers"]["date"]) == ("<x@y>", date)
    assert "Message-ID" not in payload["headers"]


def test_id_that_is_no_word_still_makes_one_message_id() -> None:
    message = MailMessage.from_arguments({"from_email": "a@äöü.com", "to": "b@x.org"}, message_id="order 7/é")
    assert encode(message)["message_id"].endswith("@xn--4ca0bs.com>")
    assert encode(message)["message_id"] == encode(message)["message_id"]
    assert " " not in encode(message)["message_id"]


def test_waiting_mail_is_dated_when_it_goes() -> None:
    assert encoded(send_at=2**31)["headers"]["Date"] == "Tue, 19 Jan 2038 03:14:08 +0000"


def test_references_stay_references() -> None:
    reference = Attachment.from_endpoint("invoice_id=7", filename="i.pdf")
    payload = encoded(body="t", attachments=[reference, ("é.txt", "é")])
    assert payload["content_type"] == "plain"
    assert payload["attachments"] == [
        {"filename": "i.pdf", "mime_type": "application/pdf", "storage_path": "invoice_id=7", "fetch_mode": "endpoint"},
        {"filename": "é.txt", "mime_type": "text/plain; charset=utf-8", "storage_path": "base64:w6k="},
    ]


def test_reference_beside_text_html_and_image_leaves_no_mixed_root() -> None:
    payload = encoded(body="t", html_body="h", attachments=[Attachment.from_proxy_disk("/x/i.pdf"), IMAGE])
    # To a multipart/mixed of text the proxy could add nothing: it would fail on it, again and again.
    assert shape(parsed(payload)) == {"alternative": ["text/plain", {"related": ["text/html", "image/png"]}]}
    assert [item["filename"] for item in payload["attachments"]] == ["i.pdf"]


@pytest.mark.parametrize(
    "attachment",
    [
        Attachment(filename="a.pdf", content=b"x", headers=(("X-A", "1"),)),
        Attachment(filename="a.pdf", content=b""),
        Attachment(content=b"x"),
        Attachment(filename="{MD5:00ff}a.pdf", content=b"x"),
        Attachment(filename="x" * 256, content=b"x"),
        Attachment(filename="a.png", content=b"x", content_id="logo"),
        Attachment(filename="a.eml", content=b"Subject: x\n\ny", mime_type="message/rfc822"),
    ],
)
def test_special_attachment_beside_a_reference_is_unsupported(attachment: Attachment) -> None:
    with pytest.raises(UnsupportedMessage) as caught:
        encoded(body="t", attachments=[Attachment.from_proxy_disk("/x/i.pdf"), attachment])
    assert caught.value.argument == "attachments[1]"


def test_attached_message_is_made_7_bit_inside() -> None:
    inner = "Subject: é\nTo: Jané <j@example.com>\nX-Long: " + "word " * 40 + "\n\n" + "é" * 100 + "\n"
    payload = encoded(attachments=[("m.eml", inner.encode(), "message/rfc822")])
    message = part_at(parsed(payload), 1, 0)
    assert message["Subject"] == "é"
    assert message["To"].addresses[0].display_name == "Jané"
    assert message["X-Long"] == ("word " * 40).strip()
    content = message.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert content.decode() == "é" * 100 + "\n"


def test_word_that_cannot_be_folded_is_unsupported() -> None:
    with pytest.raises(UnsupportedMessage, match="List-Id"):
        encoded(headers={"List-Id": "x" * 90})
    with pytest.raises(UnsupportedMessage, match="content_id"):
        encoded(html_body="h", attachments=[Attachment(content=b"x", content_id="x" * 80)])


LONG_ID = f"<{'x' * 90}@example.com>"


@pytest.mark.parametrize("length", [60, 77, 78, 90, 200, 900])
def test_long_url_of_a_list_header_is_cut_where_readers_ignore_it(length: int) -> None:
    url = "https://example.com/" + "".join(chr(97 + number % 26) for number in range(length - 22))
    message = EmailMessage()
    # As the proxy writes it.
    payload = encoded(headers={"List-Unsubscribe": f"<mailto:leave@example.com>, <{url}>"})
    message["List-Unsubscribe"] = payload["headers"]["List-Unsubscribe"]
    written = message.as_string()
    assert "=?" not in written
    assert max(map(len, written.splitlines())) <= 78
    sent = email.message_from_string(written, policy=policy.default)["List-Unsubscribe"]
    assert "".join(sent.split()) == f"<mailto:leave@example.com>,<{url}>"


def test_ids_that_the_proxy_would_damage_are_left_out_and_the_mail_goes(caplog: pytest.LogCaptureFixture) -> None:
    payload = encoded(headers={"References": f"<a@example.com> {LONG_ID} <b@example.com>", "In-Reply-To": LONG_ID})
    assert payload["headers"]["References"] == "<a@example.com> <b@example.com>"
    assert "In-Reply-To" not in payload["headers"]
    assert caplog.text.count("too long for the proxy") == 2
    assert "@example.com" not in caplog.text


def test_header_of_the_proxy_s_line_breaks_is_an_encoded_word() -> None:
    assert encoded(subject="a\u2028b")["subject"] == "=?utf-8?b?YeKAqGI=?="


# --------------------------------------------------------------------------- raw messages


def raw(body: str, content: str = "") -> dict[str, Any]:
    return encoded(raw=f"From: a@example.com\nTo: b@example.com\nSubject: s\n{content}\n{body}")


def test_short_ascii_tree_goes_byte_for_byte() -> None:
    body = "preamble\n--b\nX: " + "y" * 75 + "\n\nté\n--b--\nepilogue\n".replace("é", "e")
    payload = raw(body, 'Content-Type: multipart/signed; micalg="x";\n boundary="b"\n')
    assert payload["body"] == body
    assert payload["headers"]["Content-Type"] == 'multipart/signed; micalg="x"; boundary="b"'


def test_long_and_8_bit_parts_are_encoded() -> None:
    body = f"--b\nContent-Type: text/plain; charset=utf-8\n\n{'é' * 90}\n--b\n\n{'x' * 1200}\n--b--\n"
    payload = raw(body, 'Content-Type: multipart/mixed; boundary="b"\n')
    first, second = parsed(payload).iter_parts()
    assert first.get_content() == "é" * 90
    assert second.get_content() == "x" * 1200


def test_signed_message_that_would_break_is_unsupported() -> None:
    body = f"--b\n\n{'x' * 100}\n--b--\n"
    with pytest.raises(UnsupportedMessage, match="signature"):
        raw(body, 'Content-Type: multipart/signed; boundary="b"\n')


def test_bare_delivery_status_is_unsupported() -> None:
    with pytest.raises(UnsupportedMessage, match="multipart/report"):
        raw("Reporting-MTA: dns; x\n", "Content-Type: message/delivery-status\n")


def test_bcc_of_a_raw_message_is_not_seen() -> None:
    payload = encoded(raw="From: a@example.com\nTo: b@example.com\nBcc: c@example.com\n\nx")
    assert payload["bcc"] == ["c@example.com"]
    assert "Bcc" not in payload["headers"]
