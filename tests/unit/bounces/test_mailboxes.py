"""A mailbox's URL: what it may be, and that its password is shown nowhere."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_mailproxy.bounces.mailboxes import open_mailbox
from celery_mailproxy.conf.settings import load_settings
from celery_mailproxy.errors import ConfigurationError

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        f"pop3://bounces:{SECRET}@mail.example.com",
        f"imaps://:{SECRET}@mail.example.com/INBOX",
        "imaps://bounces@mail.example.com/INBOX",
        f"imaps://bounces:{SECRET}@mail.example.com:port/INBOX",
        f"imaps://bounces:{SECRET}@mail.example.com/INBOX?verify=no",
        f"imaps://bounces:{SECRET}@mail.example.com/INBOX#1",
        "maildir://relative/path",
        "mbox://",
    ],
)
def test_url_that_names_no_mailbox_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="mail_proxy_bounce_mailbox") as caught:
        open_mailbox(url)
    assert SECRET not in str(caught.value)


def test_names_have_no_account_and_identities_differ_by_it() -> None:
    one, other = (open_mailbox(f"imaps://{user}:{SECRET}@mail.example.com/Bounces%20of%20us") for user in ("a", "b"))
    assert one.name == other.name == "imaps://mail.example.com:993/Bounces of us"
    assert one.identity != other.identity
    assert SECRET not in f"{one!r}{vars(one)}{one.identity}"


@pytest.mark.parametrize("url", ["pop3://x", "imaps://", f"{SECRET}", 7, ""])
def test_setting_that_is_no_url_of_a_mailbox_is_refused_at_once(url: object) -> None:
    app = Celery("test", set_as_current=False)
    app.conf.mail_proxy_bounce_mailbox = url
    with pytest.raises(ConfigurationError, match="mail_proxy_bounce_mailbox") as caught:
        load_settings(app)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "bounces@example.com",
        "{id}",
        "bounces+{id}",
        "b{id}{id}@x.de",
        "b@{id}.de",
        "b+{id}@",
        "b {id}@x.de",
        "ü{id}@x.de",
    ],
)
def test_bounce_address_without_a_place_for_the_id_is_refused(template: str) -> None:
    app = Celery("test", set_as_current=False)
    app.conf.mail_proxy_bounce_address = template
    with pytest.raises(ConfigurationError, match=r"bounces\+\{id\}@example.com"):
        load_settings(app)
