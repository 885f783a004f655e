"""Hostile texts in every place of a mail, through the real proxies: a text stays where it was put."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from email.message import Message
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from celery_mailproxy import send_via_proxy
from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.arguments import normalise_arguments
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.injections import FORGED, HIDDEN, HIDDEN_PARAMETERS, PARAMETER_PLACES, PLACES, arguments_of, quoted
from ...harness.mail_stack import MailStack
from ...harness.proxy_builder import ProxyBuilder, ProxyBuilderError
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.long(30), pytest.mark.full_with("commands")]

#: What an attack is put together from, and what may lead its readers astray.
PIECES = st.sampled_from(
    [
        *HIDDEN.values(),
        *HIDDEN_PARAMETERS.values(),
        *("=?", "?=", "=?utf-8?q?", "=?utf-8?b?", "=0d=0a", "DQo=", "\r\n", "\n ", "\v", "\x85", "\u2028", "%0d%0a"),
        *(
            f"{FORGED}: 1",
            f"_{FORGED}:_1",
            "*=",
            "*0*=",
            "utf-8''",
            "utf-7",
            "+AA0ACg-",
            " ",
            "  ",
            "\t",
            "é",
            "\ufeff",
        ),
        *('"', ";", "<", ">", ",", "@", "\\", "=3D", "=3F", quoted("=?"), quoted("é" * 30), "word " * 20),
    ]
)
TEXTS = st.lists(PIECES, min_size=1, max_size=8).map("".join)


def forged_lines(data: bytes) -> list[bytes]:
    """The lines of a mail as it travels that begin as only a forged one does."""
    lines = data.replace(b"\r", b"\n").replace(b"\v", b"\n").replace(b"\f", b"\n").split(b"\n")
    return [line for line in lines if line.startswith((FORGED.encode(), b"forged"))]


def forged_headers(message: Message) -> list[str]:
    """The headers of that name at every level, as a reader finds them."""
    return [name for part in message.walk() for name in part.keys() if name.lower() == FORGED.lower()]  # noqa: SIM118


def submitted(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the proxy gets of a mail; raises `InvalidMessage`, and nothing else, where it is refused."""
    arguments = normalise_arguments(arguments)
    payload = {"tenant_id": "t1", "account_id": "a1", **encode(MailMessage.from_arguments(arguments, message_id="m1"))}
    # Nothing is there to be fetched; the others are the ones that this is about.
    files = [each for each in payload.pop("attachments", None) or [] if "fetch_mode" not in each]
    plain: dict[str, Any] = json.loads(json.dumps(payload | ({"attachments": files} if files else {})))
    return plain


@settings(max_examples=600, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([*PLACES, *PARAMETER_PLACES]), TEXTS)
@example("a header", quoted(f"a {FORGED}: 1"))
def test_whatever_is_not_refused_forges_nothing(builder: ProxyBuilder, place: str, text: str) -> None:
    try:
        arguments = arguments_of(place, text)
    except InvalidMessage:
        return
    except Exception:
        # Python itself makes no message with such a text.
        assert "email message" in place or "ready-made" in place
        return
    try:
        payload = submitted(arguments)
    except InvalidMessage:
        return
    try:
        built = builder.build(payload)
    except ProxyBuilderError:
        # The mail ends as an error.
        return
    assert forged_lines(built.data) == []
    assert forged_headers(message_from_bytes(built.data, policy=policy.compat32)) == []


def test_what_arrives_is_one_mail_with_the_headers_that_were_meant(
    real_proxy: RealProxy, mail_sink: MailSink, redis_server: RedisServer
) -> None:
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
    tenant.add()
    with MailStack(tenant, broker_url=redis_server.url) as stack:
        send = stack.app.tasks[send_via_proxy.name]
        for place in PLACES:
            with pytest.raises(InvalidMessage):
                send.delay(**arguments_of(place, HIDDEN["as in the wild"]))
        # Of the same look, and harmless.
        harmless = [place for place in PLACES if is_taken(place)]
        for place in harmless:
            send.delay(**arguments_of(place, quoted(f"a {FORGED}: 1")))
        mails = mail_sink.wait_for(len(harmless), timeout_seconds=PATIENCE_SECONDS)
    assert len(harmless) > 20
    for mail in mails:
        assert forged_headers(mail.message) == []
        assert forged_lines(bytes(mail.message)) == []


def is_taken(place: str) -> bool:
    try:
        payload = submitted(arguments_of(place, quoted(f"a {FORGED}: 1")))
    except InvalidMessage:
        return False
    is_fetched = "reference" in place
    is_elsewhere = place in ("the tenant", "the account")
    return bool(payload) and not is_fetched and not is_elsewhere
