"""What a caller's arguments are on the broker."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from email.message import EmailMessage
from email.mime.application import MIMEApplication

import pytest
from django.utils.functional import lazystr

from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.arguments import _SYNONYMS, ARGUMENTS, TASK_ARGUMENTS, normalise_arguments
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.mail.priority import Priority
from celery_mailproxy.tasks.sending.base_tasks import SendTask
from celery_mailproxy.tasks.sending.callbacks import CALLBACK_ARGUMENTS
from tests.unit.mail.mails import mail


def test_normalising_is_json_and_idempotent() -> None:
    message = EmailMessage()
    message["Subject"] = "é"
    message.set_content("é")
    plain = normalise_arguments(
        {
            "to": "b@example.com",
            "priority": Priority.LOW,
            "send_at": datetime(2030, 1, 1, tzinfo=timezone.utc),
            "attachments": [("a.bin", b"\xff"), message, MIMEApplication(b"x")],
            "headers": {"X-N": 5},
            "cc": None,
        }
    )

    assert plain["send_at"] == 1893456000
    assert plain["to"] == ["b@example.com"]
    assert plain["priority"] == 3
    assert plain["headers"] == {"X-N": "5"}
    assert "cc" not in plain
    assert normalise_arguments(json.loads(json.dumps(plain))) == plain


def test_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(InvalidMessage, match="did you mean subject") as caught:
        normalise_arguments({"subjekt": "Hi"})
    assert caught.value.argument == "subjekt"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("on_snt", "on_sent"),
        ("on_failure", None),
        ("on_bounce", "on_bounced"),
        ("on_defered", "on_deferred"),
        ("per_recipients", "per_recipient"),
        ("sender", "from_email"),
        ("from_", "from_email"),
        ("recipients", "to"),
        ("recipient_list", "to"),
        ("text", "body"),
        ("message", "body"),
        ("html", "html_body"),
        ("HTML_message", "html_body"),
    ],
)
def test_arguments_of_the_task_and_others_words_are_proposed(given: str, meant: str | None) -> None:
    with pytest.raises(InvalidMessage) as caught:
        normalise_arguments({given: "x"})
    if meant is not None:
        assert caught.value.problem == f"is not an argument of an email; did you mean {meant}?"
    assert caught.value.argument == given


def test_what_is_proposed_is_what_the_tasks_take() -> None:
    assert {*CALLBACK_ARGUMENTS, *SendTask.own_arguments} == set(TASK_ARGUMENTS)
    assert set(_SYNONYMS.values()) <= ARGUMENTS
    assert not _SYNONYMS.keys() & {*ARGUMENTS, *TASK_ARGUMENTS}


def test_aware_time_of_any_zone_becomes_unix_seconds() -> None:
    zone = timezone(timedelta(hours=2))
    assert mail(send_at=datetime(1970, 1, 1, 2, 0, 5, 900, tzinfo=zone)).send_at == 5


def test_the_last_moment_that_a_mail_can_wait_for_can_be_encoded() -> None:
    assert encode(mail(send_at=253_402_300_799))["headers"]["Date"] == "Fri, 31 Dec 9999 23:59:59 +0000"


def test_django_still_calls_its_lazy_texts_proxy() -> None:
    """By its class's name, since Django is not imported here."""
    lazy = lazystr("Grüße")
    assert normalise_arguments({"subject": lazy}) == {"subject": "Grüße"}, type(lazy).__name__


def test_metadata_and_tags_are_the_callers_own() -> None:
    message = mail(metadata={"order": 7, "lines": (1, 2)}, tags=["vip", "receipt", "vip"])
    assert (message.metadata, message.tags) == ({"order": 7, "lines": [1, 2]}, ("vip", "receipt"))
    assert mail(tags="vip").tags == ("vip",)
    assert MailMessage.from_json(json.loads(json.dumps(message.to_json()))) == message
    assert not {"metadata", "tags", "expires_at"} & encode(mail(expires_at=60, metadata={"a": 1}, tags=["t"])).keys()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"metadata": ["order", 7]}, "must be a dict"),
        ({"metadata": {7: "order"}}, "must be a dict"),
        ({"metadata": {"when": datetime(2030, 1, 1, tzinfo=timezone.utc)}}, "JSON"),
        ({"metadata": {"rate": float("nan")}}, "JSON"),
        ({"metadata": {"text": "x" * 4096}}, "4,096 bytes"),
        ({"tags": [7]}, "must be text"),
        ({"tags": ["a,b"]}, "without a comma"),
        ({"tags": [""]}, "1 to 64"),
        ({"tags": ["x" * 65]}, "1 to 64"),
        ({"tags": [f"t{number}" for number in range(21)]}, "at most 20"),
        ({"expires_at": datetime(2030, 1, 1)}, "aware"),  # noqa: DTZ001
        ({"expires_at": "tomorrow"}, "seconds from now"),
        ({"expires_at": 1893456000, "send_at": 1893456000}, "later than send_at"),
    ],
)
def test_what_cannot_be_kept_is_refused(arguments: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem) as raised:
        mail(**arguments)
    assert raised.value.argument.startswith(next(iter(arguments)))


def test_seconds_from_now_become_a_moment_once() -> None:
    before = time.time()
    plain = normalise_arguments({"expires_at": 90})
    assert before + 90 <= plain["expires_at"] <= time.time() + 91
    assert normalise_arguments(plain) == plain
    assert mail(expires_at=1893456000).expires_moment == datetime(2030, 1, 1, tzinfo=timezone.utc)
