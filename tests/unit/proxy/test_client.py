"""ProxyClient against scripted answers; `tests/contract` and `tests/integration` hold it to the real proxies."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.errors import ProxyRequestError, ProxyUnavailable
from celery_mailproxy.proxy.client import ProxyClient

COMMANDS = "/commands/add-messages"
ENTITIES = "/messages/add_batch"
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, *, api: Any = "entities", token: str | None = "s3cret") -> ProxyClient:
    server = ServerSettings(name="default", url="http://proxy:8000", token=token, api=api)
    return ProxyClient(server, transport=httpx.MockTransport(handler))


def answering(status: int, body: Any = None, **headers: str) -> Handler:
    return lambda request: httpx.Response(status, json=body, headers=headers)


def ids_of(request: httpx.Request) -> list[str]:
    return [message["id"] for message in json.loads(request.content)["messages"]]


def messages(*ids: str) -> list[dict[str, str]]:
    return [{"id": each} for each in ids]


@pytest.mark.parametrize(("api", "path"), [("commands", COMMANDS), ("entities", ENTITIES)])
def test_the_api_is_told_from_the_openapi_document_once(api: str, path: str) -> None:
    paths = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        if request.url.path == "/openapi.json":
            return httpx.Response(200, json={"paths": {path: {}}})
        return httpx.Response(200, json={"ok": True, "queued": 1, "rejected": []})

    proxy = client(handle, api="auto")
    proxy.submit(messages("m1"))
    proxy.submit(messages("m2"))
    assert proxy.api.name == api
    assert paths == ["/openapi.json", path, path]


@pytest.mark.parametrize("answered", [200, 500])
def test_a_tenant_is_asked_for_once_where_the_proxy_forgets_it(answered: int) -> None:
    paths = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        tenant = {"id": "t1", "client_base_url": "http://shop", "client_auth": {"method": "bearer", "token": "secret"}}
        if request.url.path == "/tenants/get":
            return httpx.Response(answered, json=tenant if answered == 200 else None)
        if request.url.path == "/tenants/list":
            return httpx.Response(200, json=[tenant])
        (attachment,) = json.loads(request.content)["messages"][0]["attachments"]
        assert attachment["auth"]["token"] == "secret"
        return httpx.Response(200, json={"ok": True, "queued": 1, "rejected": []})

    proxy = client(handle)
    attachment = {"filename": "a.txt", "storage_path": "x=1", "fetch_mode": "endpoint"}
    for name in ("m1", "m2"):
        proxy.submit([{"id": name, "tenant_id": "t1", "attachments": [attachment]}])
    asked = ["/tenants/get"] if answered == 200 else ["/tenants/get", "/tenants/list"]
    assert paths == [*asked, ENTITIES, ENTITIES]


def test_a_tenant_that_the_proxy_does_not_know_is_asked_for_again() -> None:
    paths = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        if request.url.path == "/tenants/get":
            return httpx.Response(500)
        if request.url.path == "/tenants/list":
            return httpx.Response(200, json=[])
        refused = [{"id": "m1", "reason": "unknown tenant"}]
        return httpx.Response(200, json={"ok": True, "queued": 0, "rejected": refused})

    proxy = client(handle)
    attachment = {"filename": "a.txt", "storage_path": "x=1", "fetch_mode": "endpoint"}
    for _ in range(2):
        answer = proxy.submit([{"id": "m1", "tenant_id": "t1", "attachments": [attachment]}])
        assert answer.rejected == {"m1": "unknown tenant"}
    assert paths == ["/tenants/get", "/tenants/list", ENTITIES] * 2


def test_a_proxy_exchanged_for_the_other_api_is_asked_anew() -> None:
    current = {"path": COMMANDS}

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/openapi.json":
            return httpx.Response(200, json={"paths": {current["path"]: {}}})
        if request.url.path != current["path"]:
            return httpx.Response(404, json={"detail": "Not Found"})
        return httpx.Response(200, json={"ok": True, "queued": 1, "rejected": []})

    proxy = client(handle, api="auto")
    proxy.submit(messages("m1"))
    current["path"] = ENTITIES
    assert proxy.submit(messages("m2")).accepted == ("m2",)


def test_another_server_is_told_apart() -> None:
    with pytest.raises(ProxyRequestError, match="not a genro-mail-proxy that we know"):
        client(answering(200, {"paths": {}}), api="auto").submit(messages("m1"))


def test_the_token_travels_in_its_header_only() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["x-api-token"] == "s3cret"
        return httpx.Response(401, json={"detail": "Invalid or missing API token"})

    with pytest.raises(ProxyRequestError, match="Set mail_proxy_token") as caught:
        client(handle).submit(messages("m1"))
    assert "s3cret" not in str(caught.value)


def test_already_sent_is_success_on_both_apis() -> None:
    rejected = {"rejected": [{"id": "m1", "reason": "already sent"}]}
    old = client(answering(400, {"detail": {"error": None, **rejected}}), api="commands")
    new = client(answering(200, {"ok": True, "queued": 0, "rejected": []}))
    assert old.submit(messages("m1")).accepted == new.submit(messages("m1")).accepted == ("m1",)


@pytest.mark.parametrize(
    ("api", "status", "wrap"),
    [("commands", 400, lambda answer: {"detail": answer}), ("entities", 200, lambda answer: answer)],
)
def test_a_submission_that_is_all_refused_names_each(api: str, status: int, wrap: Any) -> None:
    answer = wrap({"queued": 0, "rejected": [{"id": "m1", "reason": "missing to"}, {"id": "m2", "reason": "no"}]})
    got = client(answering(status, answer), api=api).submit(messages("m1", "m2"))
    assert got.accepted == ()
    assert got.rejected == {"m1": "missing to", "m2": "no"}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_unavailable(status: int) -> None:
    with pytest.raises(ProxyUnavailable) as caught:
        client(answering(status)).submit(messages("m1"))
    assert caught.value.status == status
    assert caught.value.maybe_accepted


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=90), usegmt=True)
    for value, bounds in (("30", (30, 30)), (later, (80, 91)), ("soon", None)):
        with pytest.raises(ProxyUnavailable) as caught:
            client(answering(503, **{"retry-after": value})).submit(messages("m1"))
        wait = caught.value.retry_after_seconds
        assert wait is None if bounds is None else (wait is not None and bounds[0] <= wait <= bounds[1])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 422, 302])
def test_what_no_retry_mends_is_a_request_error(status: int) -> None:
    with pytest.raises(ProxyRequestError) as caught:
        client(answering(status, {"detail": "x"})).submit(messages("m1"))
    assert caught.value.status == status


def test_a_422_names_the_fields_but_not_what_stood_in_them() -> None:
    detail = [{"loc": ["body", "messages", 0, "to"], "type": "list_type", "input": "bob@example.com"}]
    with pytest.raises(ProxyRequestError, match=r"body\.messages\.0\.to: list_type") as caught:
        client(answering(422, {"detail": detail})).submit(messages("m1"))
    assert "bob" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "maybe_accepted"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("slow"), True),
        (httpx.ReadTimeout("slow"), True),
        (httpx.RemoteProtocolError("closed"), True),
    ],
)
def test_only_a_refused_connection_is_sure_not_to_have_delivered(error: Exception, maybe_accepted: bool) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(ProxyUnavailable) as caught:
        client(handle).submit(messages("m1"))
    assert caught.value.maybe_accepted is maybe_accepted


@pytest.mark.parametrize("status", [422, 500])
def test_one_poisonous_message_does_not_take_its_neighbours_down(status: int) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if "bad" in ids_of(request):
            return httpx.Response(status, json={})
        return httpx.Response(200, json={"ok": True, "rejected": []})

    answer = client(handle).submit(messages("a", "b", "bad", "c", "d"))
    assert sorted(answer.accepted) == ["a", "b", "c", "d"]
    assert list(answer.rejected if status == 422 else answer.unsettled) == ["bad"]


def test_a_proxy_that_is_down_is_not_asked_for_every_half() -> None:
    calls = []

    def handle(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(503)

    with pytest.raises(ProxyUnavailable):
        client(handle).submit(messages(*"abcdefgh"))
    assert len(calls) == 1


@pytest.mark.parametrize(("status", "held"), [(200, True), (500, False), (404, False)])
def test_the_entities_api_is_asked_whether_it_holds_a_message(status: int, held: bool) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"message_id": "m1", "tenant_id": "acme"}
        return httpx.Response(status, json={})

    assert client(handle).holds("m1", "acme") is held


def test_the_commands_api_need_not_be_asked() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise AssertionError("asked")

    assert not client(handle, api="commands").holds("m1", "acme")
