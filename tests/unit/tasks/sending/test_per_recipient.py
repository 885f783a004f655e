"""One mail as a message for each recipient: who gets what, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from celery_mailproxy.errors import InvalidMessage, UnsupportedMessage
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.tasks.sending.outgoing import Outgoing
from celery_mailproxy.tasks.sending.per_recipient import MAX_RECIPIENTS, distribute


def outgoing(message_id: str = "m1", **arguments: Any) -> Outgoing:
    defaults = {"from_email": "Shop <shop@example.com>", "subject": "S", "body": "B"}
    message = MailMessage.from_arguments({**defaults, **arguments}, message_id=message_id)
    return Outgoing(message=message, callbacks={"sent": [{"task": "paid"}]})


def payloads(**arguments: Any) -> list[dict[str, Any]]:
    _, members = distribute(outgoing(**arguments))
    return [encode(member.message) for member in members]


def test_each_recipient_gets_a_message_that_shows_them_all() -> None:
    ann, bob, cid = payloads(to=["Ann <ann@example.com>", "bob@example.com"], bcc=["cid@example.com"])
    for payload, address in ((ann, "ann@example.com"), (bob, "bob@example.com"), (cid, "cid@example.com")):
        assert payload["to"] == ["Ann <ann@example.com>", "bob@example.com"]
        assert "bcc" not in payload
        headers = payload["headers"]
        assert (headers["Resent-Bcc"], headers["Resent-From"]) == (address, "shop@example.com")
        assert headers["Resent-Date"] == headers["Date"]
    assert [payload["id"] for payload in (ann, bob, cid)] == ["m1-0", "m1-1", "m1-2"]
    # To its readers it is one mail.
    assert {payload["message_id"] for payload in (ann, bob, cid)} == {"<m1@example.com>"}


def test_a_message_id_of_the_mail_itself_is_kept() -> None:
    (payload, _) = payloads(to=["a@example.com", "b@example.com"], headers={"message-id": "<own@example.com>"})
    assert payload["message_id"] == "<own@example.com>"


def test_the_parent_has_the_recipients_and_the_members_have_the_callbacks() -> None:
    parent, members = distribute(outgoing(to=["Ann <ann@example.com>"], cc=["bob@bücher.example"]))
    assert (parent.members, parent.parent_id, parent.callbacks) == (
        ("ann@example.com", "bob@xn--bcher-kva.example"),
        None,
        {},
    )
    for member in members:
        assert (member.parent_id, member.members, member.callbacks) == ("m1", (), {"sent": [{"task": "paid"}]})
    assert [member.message.recipients for member in members] == [(address,) for address in parent.members]


def test_who_is_named_twice_gets_one() -> None:
    parent, members = distribute(outgoing(to=["ann@example.com"], cc=["Ann <ann@example.com>", "bob@example.com"]))
    assert parent.members == ("ann@example.com", "bob@example.com")
    assert len(members) == 2
    (payload,) = payloads(to=["ann@example.com"], cc=["Ann <ann@EXAMPLE.com>"])
    # Else To and Cc would name two.
    assert payload["headers"]["Resent-Bcc"] == "ann@example.com"


def test_blind_copies_alone_are_seen_by_nobody_and_need_no_envelope() -> None:
    ann, bob = payloads(bcc=["ann@example.com", "bob@example.com"])
    assert (ann["to"], ann["bcc"]) == (["undisclosed-recipients:;"], ["ann@example.com"])
    assert bob["bcc"] == ["bob@example.com"]
    assert "Resent-Date" not in ann["headers"] | bob["headers"]


def test_who_is_the_only_one_to_be_seen_needs_no_envelope() -> None:
    ann, bob = payloads(to=["Ann <ann@example.com>"], bcc=["bob@example.com"])
    assert "Resent-Date" not in ann["headers"]
    assert "bcc" not in ann
    assert bob["headers"]["Resent-Bcc"] == "bob@example.com"


def test_a_raw_message_goes_to_each_alone() -> None:
    raw = "From: a@example.com\nTo: ann@example.com, bob@example.com\nSubject: Raw\n\nHello\n"
    _, members = distribute(Outgoing(message=MailMessage.from_arguments({"raw": raw}, message_id="m1")))
    ann, bob = (encode(member.message) for member in members)
    assert (ann["body"], ann["to"]) == ("Hello\n", ["ann@example.com", "bob@example.com"])
    assert bob["headers"]["Resent-Bcc"] == "bob@example.com"


def test_the_number_of_recipients_has_a_limit() -> None:
    most = [f"a{number}@example.com" for number in range(MAX_RECIPIENTS)]
    assert len(distribute(outgoing(to=most))[1]) == MAX_RECIPIENTS
    with pytest.raises(InvalidMessage, match=r"at most 1000 recipients.*got 1001") as caught:
        distribute(outgoing(to=most, bcc=["b@example.com"]))
    assert caught.value.argument == "per_recipient"


def test_ids_leave_room_for_a_number() -> None:
    assert distribute(outgoing("m" * 251, to=["a@example.com"]))[1][0].message.message_id == "m" * 251 + "-0"
    with pytest.raises(InvalidMessage, match="at most 251 characters"):
        distribute(outgoing("m" * 252, to=["a@example.com"]))


@pytest.mark.parametrize("name", ["Resent-To", "resent-from"])
def test_a_mail_that_was_resent_before_is_refused(name: str) -> None:
    # Its recipients would get each of the copies.
    with pytest.raises(UnsupportedMessage, match="per_recipient"):
        distribute(outgoing(to=["a@example.com"], headers={name: "old@example.com"}))
