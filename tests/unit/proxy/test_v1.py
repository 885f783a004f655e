"""What the v1 API has of its own: typed text, and errors as Python literals."""

from __future__ import annotations

import ast
import json
from typing import Any

import httpx
import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.errors import ProxyRequestError
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.proxy.literals import MAX_LITERAL_CHARACTERS, read_literal
from celery_mailproxy.proxy.typed_text import protect
from celery_mailproxy.testing.fake import v1 as fake_v1

CODES = ("T", "N", "L", "R", "D", "DH", "DHZ", "H", "B", "NN", "QS", "X")
OK = {"ok": True, "queued": 1, "rejected": []}


def client(handle: Any) -> ProxyClient:
    server = ServerSettings(name="default", url="http://proxy/mailproxy/v1", token="s3cret", api="v1")
    return ProxyClient(server, transport=httpx.MockTransport(handle))


@pytest.mark.parametrize("code", [*CODES, "", "ANY_OTHER", "t2"])
@pytest.mark.parametrize("head", ["Learn std", "5", "", "a::T", "abc:"])
def test_a_text_that_looks_typed_is_protected_and_read_back_as_it_was(head: str, code: str) -> None:
    text = f"{head}::{code}"
    assert protect(text) == f"{text}::T"
    assert fake_v1._typed_text(protect(text)) == text


@pytest.mark.parametrize("text", ["", "std", "std:T", "std::T\n", "std::T ", "::T more", "a::b c"])
def test_any_other_text_is_left_alone(text: str) -> None:
    assert protect(text) == text
    assert fake_v1._typed_text(text) == text


def test_every_string_of_a_call_is_protected_and_no_key() -> None:
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=OK)

    mail = {
        "id": "a::T",
        "tenant_id": "acme::X",
        "to": ["bob@example.com", "x::B"],
        "subject": "5::N",
        "body": "std::T",
        "headers": {"X-A::T": "b::L"},
        "attachments": [{"filename": "c::D", "storage_path": "n=1::H"}],
        "priority": 2,
        "deferred_ts": 5,
    }
    proxy = client(handle)
    assert proxy.submit([mail]).accepted == ("a::T",)
    proxy.delete_messages("acme::X", ["a::T"])
    protected = {
        **mail,
        "id": "a::T::T",
        "tenant_id": "acme::X::T",
        "to": ["bob@example.com", "x::B::T"],
        "subject": "5::N::T",
        "body": "std::T::T",
        "headers": {"X-A::T": "b::L::T"},
        "attachments": [{"filename": "c::D::T", "storage_path": "n=1::H::T"}],
    }
    assert json.loads(sent[0].content)["messages"] == [protected]
    assert dict(sent[1].url.params) == {"tenant_id": "acme::X::T"}
    assert json.loads(sent[1].content) == {"tenant_id": "acme::X::T", "ids": ["a::T::T"]}


@pytest.mark.parametrize("api", ["commands-0.5", "commands-0.6", "entities"])
def test_no_other_api_gets_protected_text(api: Any) -> None:
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=OK)

    server = ServerSettings(name="default", url="http://proxy", token="s3cret", api=api)
    ProxyClient(server, transport=httpx.MockTransport(handle)).submit([{"id": "a", "subject": "std::T"}])
    assert json.loads(sent[0].content)["messages"] == [{"id": "a", "subject": "std::T"}]


@pytest.mark.parametrize(
    "value", [{"error": None, "rejected": [{"id": "m'1", "reason": 'no "such" user'}]}, [], "a", 5]
)
def test_a_literal_is_read(value: Any) -> None:
    assert read_literal(str(value) if not isinstance(value, str) else repr(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        None,
        5,
        "",
        "route:v1",
        "__import__('os').system('true')",
        "{'a': open('/etc/passwd')}",
        "{",
        "[" * 10_000,
        "-" * 10_000 + "1",
        "{[]: 1}",
        "\x00",
        "'" + "a" * MAX_LITERAL_CHARACTERS + "'",
    ],
)
def test_what_is_no_literal_is_none(text: Any) -> None:
    assert read_literal(text) is None


def test_a_literal_is_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("run")

    monkeypatch.setattr("builtins.eval", refuse)
    assert ast.literal_eval("1") == read_literal("1") == 1


def test_the_reason_and_the_list_of_a_refusal_are_not_lost() -> None:
    refused = [{"id": "m1", "reason": "account not found for tenant"}, {"id": "m2", "reason": "missing 'to'"}]
    body = {"error": str({"error": None, "rejected": refused})}
    answer = client(lambda request: httpx.Response(400, json=body)).submit([{"id": "m1"}, {"id": "m2"}])
    assert answer.rejected == {"m1": "account not found for tenant", "m2": "missing 'to'"}
    assert answer.accepted == ()


def test_a_refusal_of_all_of_them_says_why() -> None:
    body = {"error": str({"error": "Cannot enqueue more than 1000 messages at once", "rejected": None})}
    with pytest.raises(ProxyRequestError, match="more than 1000 messages"):
        client(lambda request: httpx.Response(400, json=body)).submit([{"id": "m1"}])


def test_a_422_names_the_fields_but_not_what_stood_in_them() -> None:
    text = (
        "Invalid request body: 2 validation errors for EnqueueMessagesPayload\n"
        "messages.1.subject\n"
        "  String should have at least 1 character [type=string_too_short, input_value='', input_type=str]\n"
        "    For further information visit https://errors.pydantic.dev/2.14/v/string_too_short\n"
        "messages.1.to.list[str]\n"
        "  Input should be a valid list [type=list_type, input_value='bob@example.com', input_type=str]\n"
        "messages.2.body\n"
        "  Input should be a valid string [type=string_type, input_value=Decimal('5'), input_type=Decimal]\n"
    )
    with pytest.raises(ProxyRequestError) as caught:
        client(lambda request: httpx.Response(422, json={"error": text})).submit([{"id": "m1"}])
    assert "messages.1.subject: string_too_short" in str(caught.value)
    assert "messages.1.to.list: list_type; messages.2.body: string_type" in str(caught.value)
    assert "bob" not in str(caught.value)
