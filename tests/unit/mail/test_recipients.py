"""A staging system's mails: nobody outside gets one, whichever field names them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.mail.recipients import keys_of, restricted, without

ALLOWED = ("@team.example", "qa@lab.example")
QA = ("qa@lab.example",)


def mail(**arguments: Any) -> MailMessage:
    arguments = {"from_email": "shop@example.com", "subject": "s", "body": "b", **arguments}
    return MailMessage.from_arguments(arguments, message_id="m1")


def test_without_the_settings_a_mail_stays_as_it_is() -> None:
    message = mail(to=["ann@example.com"])
    assert restricted(message, allowed=(), redirect_to=()) is message


def test_a_mail_to_those_who_may_get_it_stays_as_it_is() -> None:
    message = mail(to=["Ann <Ann@TEAM.example>"], cc=["qa@lab.example"], bcc=["bob@team.example"])
    assert restricted(message, allowed=ALLOWED, redirect_to=("catch@team.example",)) is message


def test_others_are_left_out_wherever_they_stand() -> None:
    message = mail(to=["ann@team.example", "x@out.example"], cc=["y@out.example"], bcc=["z@out.example", *QA])
    kept = restricted(message, allowed=ALLOWED, redirect_to=())
    assert (kept.to, kept.cc, kept.bcc) == (("ann@team.example",), (), QA)


def test_a_domain_is_no_end_of_another() -> None:
    with pytest.raises(InvalidMessage, match="mail_proxy_allowed_recipients"):
        restricted(mail(to=["ann@sub.team.example", "bob@xteam.example"]), allowed=ALLOWED, redirect_to=())


def test_those_left_out_are_replaced() -> None:
    message = mail(to=["ann@team.example", "x@out.example"], bcc=["z@out.example"])
    kept = restricted(message, allowed=ALLOWED, redirect_to=QA)
    assert (kept.to, kept.cc, kept.bcc) == (("ann@team.example", *QA), (), ())


def test_with_a_redirection_alone_nobody_else_gets_mail() -> None:
    kept = restricted(mail(to=["ann@team.example"], cc=["qa@lab.example"]), allowed=(), redirect_to=QA)
    assert kept.recipients == QA


def test_visible_addresses_go_with_the_envelope() -> None:
    # To shows a list's address, and two others get the mail.
    message = mail(to=["ann@team.example", "x@out.example"], headers={"To": "List <list@out.example>"})
    assert message.envelope
    kept = restricted(message, allowed=ALLOWED, redirect_to=())
    assert (kept.to, kept.envelope) == ((), ("ann@team.example",))
    assert "out.example" not in str(encode(kept))


def test_a_raw_mail_shows_nobody_outside() -> None:
    raw = "From: shop@team.example\nTo: x@out.example, ann@team.example\nCc: y@out.example\nSubject: s\n\nhello\n"
    kept = restricted(mail(subject=None, body=None, raw=raw), allowed=ALLOWED, redirect_to=())
    assert "out.example" not in str(encode(kept))
    assert kept.recipients == ("ann@team.example",)


ADDRESSES = st.sampled_from(
    ["ann@team.example", "Bob <bob@TEAM.example>", "qa@lab.example", "x@out.example", "Y <y@o.example>"]
)


@given(*[st.lists(ADDRESSES, max_size=3)] * 3, st.booleans())
def test_whatever_the_fields_hold_nobody_outside_is_left(to: Any, cc: Any, bcc: Any, has_redirect: bool) -> None:
    if not to + cc + bcc:
        return
    try:
        kept = restricted(mail(to=to, cc=cc, bcc=bcc), allowed=ALLOWED, redirect_to=QA if has_redirect else ())
    except InvalidMessage:
        assert not has_redirect
        assert all("team" not in each.lower() and "qa@" not in each for each in to + cc + bcc)
        return
    fields = {key: encode(kept).get(key) for key in ("to", "cc", "bcc", "headers")}
    assert "out.example" not in str(fields)
    assert "o.example" not in str(fields)
    assert kept.recipients


def test_unwanted_recipients_are_left_out_wherever_they_stand() -> None:
    message = mail(to=["Ann <ANN@example.com>", "bob@example.com"], cc=["cid@bücher.example"], bcc=["dan@example.com"])
    unwanted = {"ann@example.com", "cid@xn--bcher-kva.example", "dan@example.com"}
    assert keys_of(message) == ("ann@example.com", "bob@example.com", "cid@xn--bcher-kva.example", "dan@example.com")
    kept, dropped = without(message, unwanted)
    assert (kept.to, kept.cc, kept.bcc, dropped) == (("bob@example.com",), (), (), 3)


def test_a_mail_without_unwanted_recipients_stays_as_it_is() -> None:
    message = mail(to=["ann@example.com"])
    assert without(message, {"bob@example.com"}) == (message, 0)
    assert without(message, ()) == (message, 0)


def test_of_a_mail_whose_headers_do_not_say_who_gets_it_they_stay() -> None:
    message = mail(to=["bob@example.com", "cid@example.com"], headers={"To": "Ann <ann@example.com>"})
    assert message.envelope == ("bob@example.com", "cid@example.com")
    kept, dropped = without(message, {"ann@example.com", "bob@example.com"})
    assert (kept.to, kept.envelope, dropped) == (("Ann <ann@example.com>",), ("cid@example.com",), 1)


@given(st.lists(st.sampled_from(["ann", "bob", "cid"]), min_size=1, max_size=6), st.sets(st.sampled_from("abc")))
def test_nobody_unwanted_is_among_the_recipients(names: list[str], unwanted: set[str]) -> None:
    message = mail(to=[f"{name.title()} <{name}@Example.com>" for name in names])
    keys = {f"{name}@example.com" for name in names if name[0] in unwanted}
    kept, dropped = without(message, keys)
    assert set(keys_of(kept)) == {f"{name}@example.com" for name in names} - keys
    assert dropped == len(keys)
