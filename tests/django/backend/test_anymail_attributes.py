"""The attributes that django-anymail adds to messages: read, refused, or ignored with a warning."""

from __future__ import annotations

import logging
from datetime import date, datetime, time, timezone
from typing import Any

import pytest
from anymail.message import AnymailMessage
from django.core.mail import EmailMessage
from django.utils.translation import gettext_lazy

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.django.backend import anymail_attributes
from celery_mailproxy.django.backend.celery_email import CeleryEmailSettings
from celery_mailproxy.django.backend.conversion import ConvertedMail, convert
from celery_mailproxy.errors import InvalidMessage, UnsupportedMessage

GIVEN: dict[str, Any] = {"subject": "S", "body": "B", "from_email": "shop@example.com", "to": ["ann@example.com"]}


def converted(message: EmailMessage, **defaults: Any) -> ConvertedMail:
    return convert(message, defaults=defaults, legacy=CeleryEmailSettings(), settings=Settings())


def anymail_message(**attributes: Any) -> AnymailMessage:
    return AnymailMessage(**GIVEN, **attributes)


def plain_message(**attributes: Any) -> EmailMessage:
    message = EmailMessage(**GIVEN)
    for name, value in attributes.items():
        setattr(message, name, value)
    return message


either = pytest.mark.parametrize("make", [anymail_message, plain_message])


@either
def test_a_message_without_any_is_a_mail(make: Any) -> None:
    made = converted(make(), tags=["shop"])
    assert made.arguments["tags"] == ["shop"]
    assert {"metadata", "send_at", "return_path"}.isdisjoint(made.arguments)


@either
def test_the_envelopes_sender_becomes_the_return_path(make: Any) -> None:
    made = converted(make(envelope_sender="Bounces <bounces@mail.example.com>"), return_path="other@example.com")
    assert made.message.return_path == "bounces@mail.example.com"
    assert made.entry.return_path == "bounces@mail.example.com"
    own = make(envelope_sender="bounces@example.com")
    own.mail_proxy = {"return_path": "own@example.com"}
    assert converted(own).message.return_path == "own@example.com"
    with pytest.raises(InvalidMessage, match="return_path: must be"):
        converted(make(envelope_sender="a@example.com, b@example.com"))


@either
def test_metadata_and_tags_may_hold_translated_texts(make: Any) -> None:
    attributes = {"metadata": {"kind": gettext_lazy("mail"), "order": 7}, "tags": [gettext_lazy("receipt")]}
    made = converted(make(**attributes))
    assert (made.entry.metadata, made.entry.tags) == ({"kind": "mail", "order": 7}, ("receipt",))


@either
@pytest.mark.parametrize(
    ("send_at", "expected"),
    [
        (datetime(2030, 1, 1, 12, tzinfo=timezone.utc), datetime(2030, 1, 1, 12, tzinfo=timezone.utc)),
        # Django's local time is that of Chicago by default, six hours behind.
        (datetime.combine(date(2030, 1, 1), time(12)), datetime(2030, 1, 1, 18, tzinfo=timezone.utc)),
        (date(2030, 1, 1), datetime(2030, 1, 1, 6, tzinfo=timezone.utc)),
        (1893456000, datetime(2030, 1, 1, tzinfo=timezone.utc)),
    ],
)
def test_a_time_is_read_as_anymail_reads_it(make: Any, send_at: Any, expected: datetime, settings: Any) -> None:
    settings.TIME_ZONE = "America/Chicago"
    assert converted(make(send_at=send_at)).message.send_at == int(expected.timestamp())


@either
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("template_id", "welcome"),
        ("merge_data", {}),
        ("merge_data", {"ann@example.com": {"name": "Ann"}}),
        ("merge_global_data", {"site": "shop"}),
        ("merge_headers", {"ann@example.com": {"X-Id": "7"}}),
        ("merge_metadata", {"ann@example.com": {"id": 7}}),
    ],
)
def test_what_would_make_another_mail_is_refused(make: Any, name: str, value: Any) -> None:
    with pytest.raises(UnsupportedMessage, match=f"{name}: is for the API of an e-mail service"):
        converted(make(**{name: value}))


@either
def test_what_a_mail_does_not_need_is_ignored_and_said_once(
    make: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anymail_attributes, "_said", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            converted(make(track_opens=True, track_clicks=False, esp_extra={"key": "secret"}))
    assert [record.getMessage().split()[2] for record in caplog.records] == ["esp_extra", "track_clicks", "track_opens"]
    assert "secret" not in caplog.text
