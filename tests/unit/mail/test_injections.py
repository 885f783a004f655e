"""No text that hides a line break gets into a mail, wherever it stands and however it is hidden."""

from __future__ import annotations

from contextlib import suppress

import pytest

from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.arguments import normalise_arguments
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import check_expressible, encode
from tests.harness.injections import FORGED, HIDDEN, HIDDEN_PARAMETERS, PARAMETER_PLACES, PLACES, arguments_of


def send(place: str, text: str) -> MailMessage:
    """What `.delay()` does with it, but for the publication."""
    message = MailMessage.from_arguments(normalise_arguments(arguments_of(place, text)), message_id="m1")
    check_expressible(message)
    return message


@pytest.mark.parametrize("place", PLACES)
def test_a_hidden_line_break_is_refused_in(place: str) -> None:
    for text in HIDDEN.values():
        with pytest.raises(InvalidMessage) as refused:
            send(place, text)
        # What stands in the log of a worker that gets it by other ways.
        assert FORGED not in str(refused.value.redacted())


@pytest.mark.parametrize("place", PARAMETER_PLACES)
def test_a_hidden_line_break_is_refused_in_parameters(place: str) -> None:
    for text in HIDDEN_PARAMETERS.values():
        with pytest.raises(InvalidMessage):
            send(place, text)


@pytest.mark.parametrize("place", PLACES)
def test_a_text_that_hides_nothing_is_taken_in(place: str) -> None:
    encode(send(place, "hello"))


@pytest.mark.parametrize("place", PARAMETER_PLACES)
def test_parameters_that_hide_nothing_are_taken_in(place: str) -> None:
    encode(send(place, "filename*=utf-8''na%C3%AFve.txt"))


# Python itself builds no message with such a header.
@pytest.mark.parametrize("place", [place for place in PLACES if "email message" not in place])
@pytest.mark.parametrize(
    "text",
    [
        "=?utf-16-be?q?a?=",
        "=?unicode_escape?q?=5Cud800?=",
        "=?idna?q?=ff?=",
        "=?punycode?b?/w==?=",
        "=?x?q?",
        "=?=?=?=",
    ],
)
def test_a_text_that_cannot_be_decoded_is_refused_or_sent_in(place: str, text: str) -> None:
    with suppress(InvalidMessage):
        encode(send(place, text))
