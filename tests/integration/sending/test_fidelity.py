"""Mails as the world makes them, through the real proxies: they arrive as they are meant, or are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from email import message_from_bytes, policy
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy import InvalidMessage, send_via_proxy
from celery_mailproxy.testing import MailSink

from ...harness.proxy_tenant import ProxyTenant
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.long(20)]

LATIN = "Größe".encode("latin-1")
LONG_ID = f"<{'L' * 50}@{'R' * 30}.prod.outlook.com>"
HEAD = "From: a@example.com\nTo: b@example.com\nSubject: Case\nMIME-Version: 1.0\n"
SIGNED = (
    'From: a@example.com\nX-Long: zzz {}\nContent-Type: multipart/signed; protocol="x/y"; boundary="S"\n\n'
    "--S\nContent-Type: text/plain\n\nHello  \n.\nFrom me\n\n--S\nContent-Type: x/y\n\nx\n--S--\n"
).format("y" * 70)


def of_parts(content_type: str, boundary: str, part: str = "Hello") -> str:
    return f"{HEAD}Content-Type: {content_type}\n\n--{boundary}\n\n{part}\n--{boundary}\n\nsecond\n--{boundary}--\n"


def source(message: Any, name: str) -> str:
    values = [str(value) for key, value in message.raw_items() if key.lower() == name.lower()]
    assert len(values) == 1, f"{name} is {values}"
    return values[0].replace("\r\n", "").replace("\n", "").strip()


def content(message: Any, *places: int) -> bytes:
    for place in places:
        message = message.get_payload()[place]
    data: bytes = message.get_payload(decode=True)
    return data.rstrip(b"\r\n")


#: What is sent, and what is true of it as it arrives.
CASES: dict[str, tuple[dict[str, Any], Callable[[Any], object]]] = {
    "an id in brackets": (
        {"headers": {"Message-ID": "<[1.ab@[an3]]>"}},
        lambda mail: source(mail, "Message-ID") == "<[1.ab@[an3]]>",
    ),
    "an id that a grammar would cut off": (
        {"raw": f"{HEAD}Message-ID: <a;;b, c@d>\n\nx"},
        lambda mail: source(mail, "Message-ID") == "<a;;b, c@d>",
    ),
    "parameters that nobody can read": (
        {"raw": f"{HEAD}Content-Type: text/plain; x*0*; y*\n\nx"},
        lambda mail: mail.get_content_type() == "text/plain",
    ),
    "a boundary without quotes": (
        {"raw": of_parts("multipart/mixed; boundary=--=_Part;x", "--=_Part")},
        lambda mail: content(mail, 1) == b"second",
    ),
    "a boundary without quotes above long lines": (
        {"raw": of_parts("multipart/mixed; boundary=----=_Part_1", "----=_Part_1", "x" * 200)},
        lambda mail: content(mail, 0) == b"x" * 200,
    ),
    "a boundary of seventy characters": (
        {"raw": of_parts(f'multipart/mixed; boundary="{"b" * 70}"', "b" * 70)},
        lambda mail: content(mail, 1) == b"second",
    ),
    "a file name without quotes": (
        {"raw": f"{HEAD}Content-Type: application/pdf; name=My (new) File.pdf\n\nx"},
        lambda mail: mail.get_filename() == "My (new) File.pdf",
    ),
    "bytes of no charset": ({"raw": HEAD.encode() + b"\n" + LATIN}, lambda mail: content(mail) == LATIN),
    "bytes of no charset in an attached mail": (
        {"attachments": [("x.eml", b"Subject: x\n\n" + LATIN, "message/rfc822")]},
        lambda mail: content(mail, 1, 0) == LATIN,
    ),
    "a signed mail, attached": (
        {"attachments": [("x.eml", SIGNED.encode(), "message/rfc822")]},
        lambda mail: b"\n\nHello  \n.\nFrom me\n\n--S" in mail.as_bytes().replace(b"\r\n", b"\n"),
    ),
    "a file that is called .eml": (
        {"attachments": [("x.eml", b"\0 no mail")]},
        lambda mail: content(mail, 1) == b"\0 no mail",
    ),
    "JSON for an email service": (
        {"headers": {"X-SMTPAPI": json.dumps({"to": ["é@example.com"] * 20}, separators=(",", ":"))}},
        lambda mail: json.loads(source(mail, "X-SMTPAPI")) == {"to": ["é@example.com"] * 20},
    ),
    "a long id": (
        {"headers": {"References": f"<a@b> {LONG_ID}"}},
        lambda mail: source(mail, "References").replace("@ ", "@") == f"<a@b> {LONG_ID}",
    ),
    "a name in a comment": (
        {"from_email": "root@example.com (Cron Daemon)"},
        lambda mail: source(mail, "From") == "Cron Daemon <root@example.com>",
    ),
    "an encoded name in quotes": (
        {"from_email": '"=?utf-8?b?WsO8cmljaA==?=" <z@example.com>'},
        lambda mail: source(mail, "From") == "=?utf-8?q?Z=C3=BCrich?= <z@example.com>",
    ),
    "a domain of IDNA 2003": ({"to": ["a@i❤.ws"]}, lambda mail: source(mail, "To") == "a@xn--i-7iq.ws"),
    "dots in quotes": (
        {"to": ['"john..doe"@example.com']},
        lambda mail: source(mail, "To") == '"john..doe"@example.com',
    ),
    "an unreadable date": ({"raw": f"{HEAD}Date: today\n\nx"}, lambda mail: source(mail, "Date").endswith("+0000")),
}

#: What is refused, and the argument that the error names.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an escape that is no text": ({"subject": "Re: =?utf-7?q?+2AA-?="}, "subject"),
    "a long word for an email service": (
        {"headers": {"X-PM-Metadata-order": "A" * 120}},
        "headers['X-PM-Metadata-order']",
    ),
    "several senders": ({"from_email": "a@example.com, b@example.com"}, "from_email"),
    "a group": ({"to": ["Team: a@example.com, b@example.com;"]}, "to[0]"),
}


@pytest.fixture
def app(tenant: ProxyTenant) -> Celery:
    app = Celery("fidelity", set_as_current=False)
    app.conf.update(
        task_always_eager=True,
        task_eager_propagates=True,
        mail_proxy_url=tenant.proxy.url,
        mail_proxy_token=tenant.proxy.token,
        mail_proxy_tenant=tenant.id,
        mail_proxy_account=tenant.account_id,
        mail_proxy_store="memory://",
    )
    return app


def test_what_others_make_arrives_as_it_is_meant(app: Celery, tenant: ProxyTenant, mail_sink: MailSink) -> None:
    task = app.tasks[send_via_proxy.name]
    base = {"from_email": "a@example.com", "to": ["b@example.com"], "subject": "Case", "body": "b"}
    wrong = []
    for count, (name, (arguments, is_right)) in enumerate(CASES.items(), start=1):
        own = {"to": ["b@example.com"]} if "raw" in arguments else base
        task.delay(**{**own, **arguments})
        mail = message_from_bytes(
            mail_sink.wait_for(count, timeout_seconds=PATIENCE_SECONDS)[-1].raw, policy=policy.compat32
        )
        if not is_right(mail):
            wrong.append(f"{name}: {mail.as_string()[:600]}")
    assert not wrong, "\n\n".join(wrong)
    for arguments, argument in REFUSED.values():
        with pytest.raises(InvalidMessage) as refused:
            task.delay(**{**base, **arguments})
        assert refused.value.argument == argument
