"""Django's messages through the backend and the real proxy's builder: what its SMTP backend would send comes out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, cast

import django
import pytest
from django.core.mail import EmailMessage

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import encode
from tests.django.harness.messages import MESSAGES, converted, encoded, message, on_the_wire, seen
from tests.harness import read_mail
from tests.harness.proxy_builder import ProxyBuilder


@pytest.fixture(scope="module", params=["commands", "entities"])
def builder(request: pytest.FixtureRequest) -> Iterator[ProxyBuilder]:
    from celery_mailproxy.testing.proxy_install import install_proxy

    installed = install_proxy(cast(Any, request.param))
    with ProxyBuilder(request.param, python=installed.python, sys_path=installed.python_path) as running:
        yield running


# -------------------------------------------------------------------- the same mail


@pytest.mark.integration
@pytest.mark.parametrize("name", MESSAGES)
def test_the_mail_that_djangos_smtp_backend_sends_comes_out(name: str, builder: ProxyBuilder) -> None:
    mail = MESSAGES[name]()
    made = converted(mail)
    payload = {"tenant_id": "t", "account_id": "a", **encode(made.message)}
    built = builder.build(json.loads(json.dumps(payload)))
    assert seen(read_mail.parse(built.data)) == seen(on_the_wire(mail))
    sender = on_the_wire(message(from_email=mail.from_email))["From"].addresses[0].addr_spec
    assert built.sender == sender
    assert {one.lower() for one in built.recipients} == {
        address.addr_spec for one in mail.recipients() for address in on_the_wire(message(to=[one]))["To"].addresses
    }


def test_date_and_message_id_are_those_of_the_moment_of_sending() -> None:
    mail = EmailMessage("Subject", "Body", "from@example.com", ["to@example.com"])
    first, second = (read_mail.parse(converted(mail).arguments["raw"].encode()) for _ in range(2))
    assert first["Date"]
    assert first["Message-ID"] != second["Message-ID"]
    assert converted(mail).message_id != converted(mail).message_id


def test_bcc_is_in_no_header_even_where_an_application_put_it_there() -> None:
    mail = message(bcc=["hidden@example.com"])
    if django.VERSION < (6,):
        mail.extra_headers["Bcc"] = "nobody@example.com"
    made = converted(mail)
    assert "hidden" not in made.arguments["raw"]
    assert "nobody" not in made.arguments["raw"]
    assert made.message.recipients == ("to@example.com", "hidden@example.com")


def test_a_mailbox_without_domain_is_left_to_the_smtp_server() -> None:
    made = converted(message(from_email="webmaster", to=["root"]))
    assert (made.message.from_email, made.message.recipients) == ("webmaster", ("root",))


# -------------------------------------------------------------------- what cannot be sent


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"to": ["to@example.com", "not an address"]}, "to[1]"),
        ({"cc": ["@"]}, "cc[0]"),
        ({"bcc": ["a@example.com", "b@b@b"]}, "bcc[1]"),
        ({"from_email": "from@@example.com"}, "headers['From']"),
    ],
)
def test_an_address_that_is_none_is_named_as_in_djangos_message(arguments: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        converted(message(**arguments))
    assert caught.value.argument == argument


def test_a_line_break_in_a_header_raises_what_code_for_django_catches() -> None:
    from django.core.mail import message as django_message

    with pytest.raises(django_message.BadHeaderError) as caught:
        converted(message(subject="One\nBcc: two@example.com"))
    assert isinstance(caught.value, InvalidMessage)
    assert caught.value.argument == "message"


def test_a_message_that_cannot_be_built_says_why() -> None:
    with pytest.raises(InvalidMessage, match=r"cannot be built .*No such charset|LookupError"):
        converted(encoded("no-such-charset"))


def test_a_visible_to_may_name_others() -> None:
    made = converted(message(to=["ann@example.com"], headers={"To": "List <list@example.com>"}))
    mail = MailMessage.from_arguments(made.arguments, message_id="m1")
    assert (mail.to, mail.recipients) == (("List <list@example.com>",), ("ann@example.com",))


# -------------------------------------------------------------------- options


def test_the_messages_own_options_win_over_the_backends() -> None:
    mail = message()
    mail.mail_proxy = {"priority": "high", "tenant_id": 7, "batch_code": None}  # type: ignore[attr-defined]
    made = converted(mail, priority=3, tenant_id="t", account_id="a", batch_code="b")
    chosen = {name: made.arguments[name] for name in ("priority", "tenant_id", "account_id", "batch_code")}
    assert chosen == {"priority": 1, "tenant_id": "7", "account_id": "a", "batch_code": "b"}
    assert (made.entry.priority, made.entry.tenant_id, made.entry.batch_code) == (1, "7", "b")


def test_what_django_anymail_reads_of_a_message_is_read() -> None:
    mail = message()
    mail.metadata, mail.tags = {"order": 7}, ["receipt"]  # type: ignore[attr-defined]
    mail.send_at = datetime(2030, 1, 1, tzinfo=timezone.utc)  # type: ignore[attr-defined]
    mail.mail_proxy = {"tags": ["own"], "expires_at": 1893459600}  # type: ignore[attr-defined]
    made = converted(mail)
    names = ("metadata", "tags", "send_at", "expires_at")
    assert {name: made.arguments[name] for name in names} == {
        "metadata": {"order": 7},
        "tags": ["own"],
        "send_at": 1893456000,
        "expires_at": 1893459600,
    }
    assert (made.entry.metadata, made.entry.tags) == ({"order": 7}, ("own",))
    assert made.entry.expires_at == datetime(2030, 1, 1, 1, tzinfo=timezone.utc)


def test_an_unknown_option_is_refused_with_the_nearest_known_one() -> None:
    mail = message()
    mail.mail_proxy = {"on_send": None}  # type: ignore[attr-defined]
    with pytest.raises(
        InvalidMessage, match=r"mail_proxy\['on_send'\]: is not an option of an email; did you mean on_sen"
    ):
        converted(mail)


def test_options_that_are_no_dict_are_refused() -> None:
    mail = message()
    mail.mail_proxy = ["high"]  # type: ignore[attr-defined]
    with pytest.raises(InvalidMessage, match="mail_proxy: must be a dict of options, got list"):
        converted(mail)


def test_an_id_of_ones_own_is_the_mails() -> None:
    mail = message()
    mail.mail_proxy = {"message_id": "welcome-7"}  # type: ignore[attr-defined]
    made = converted(mail)
    assert (made.message_id, made.entry.message_id, made.has_own_id) == ("welcome-7", "welcome-7", True)


def test_related_objects_need_the_log() -> None:
    from django.contrib.auth.models import User

    mail = message()
    mail.mail_proxy = {"related": User(pk=1)}  # type: ignore[attr-defined]
    with pytest.raises(InvalidMessage, match="related: needs the log of emails"):
        converted(mail)
    assert converted(mail, Settings(store="django://")).entry.related == (User(pk=1),)
    mail.mail_proxy = {"related": [User()]}  # type: ignore[attr-defined]
    with pytest.raises(InvalidMessage, match="related: must be a saved object"):
        converted(mail, Settings(store="django://"))


def test_the_source_is_logged_only_where_that_is_wished() -> None:
    assert converted(message()).entry.content is None
    logged = converted(message(), Settings(store="django://", log_content=True)).entry.content
    assert logged is not None
    assert b"Body" in logged


def test_a_mail_shows_no_address_and_no_body() -> None:
    made = converted(message(body="Secret body", subject="Secret subject"), Settings(log_content=True))
    shown = f"{made!r} {made.entry!r}"
    assert "Secret" not in shown
