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

ENTITIES = "/messages/add_batch"
OK = {"ok": True, "queued": 1, "rejected": []}
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, *, api: Any = "entities", token: str | None = "s3cret") -> ProxyClient:
    # Where v1 is looked for is `test_detection`'s.
    url = "http://proxy:8000/mailproxy/v1" if api == "v1" else "http://proxy:8000"
    server = ServerSettings(name="default", url=url, token=token, api=api)
    return ProxyClient(server, transport=httpx.MockTransport(handler))


def answering(status: int, body: Any = None, **headers: str) -> Handler:
    return lambda request: httpx.Response(status, json=body, headers=headers)


def ids_of(request: httpx.Request) -> list[str]:
    return [message["id"] for message in json.loads(request.content)["messages"]]


def messages(*ids: str) -> list[dict[str, str]]:
    return [{"id": each} for each in ids]


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


def test_the_token_travels_in_its_header_only() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["x-api-token"] == "s3cret"
        return httpx.Response(401, json={"detail": "Invalid or missing API token"})

    with pytest.raises(ProxyUnavailable, match="Set mail_proxy_token") as caught:
        client(handle).submit(messages("m1"))
    assert "s3cret" not in str(caught.value)


def test_already_sent_is_success_on_0_5_0() -> None:
    rejected = {"rejected": [{"id": "m1", "reason": "already sent"}]}
    old = client(answering(400, {"detail": {"error": None, **rejected}}), api="commands-0.5")
    assert old.submit([{"id": "m1", "tenant_id": "acme"}]).accepted == ("m1",)


@pytest.mark.parametrize(
    ("api", "status", "wrap"),
    [
        ("commands-0.5", 400, lambda answer: {"detail": answer}),
        ("commands-0.6", 400, lambda answer: {"detail": answer}),
        ("entities", 200, lambda answer: answer),
        ("v1", 400, lambda answer: {"error": str({"error": None, **answer})}),
    ],
)
def test_a_submission_that_is_all_refused_names_each(api: str, status: int, wrap: Any) -> None:
    answer = wrap({"queued": 0, "rejected": [{"id": "m1", "reason": "missing to"}, {"id": "m2", "reason": "no"}]})
    got = client(answering(status, answer), api=api).submit(messages("m1", "m2"))
    assert got.accepted == ()
    assert got.rejected == {"m1": "missing to", "m2": "no"}


# How responses are handled: `docs/explanation/guarantees.md` has the table.

REFUSED = [{"id": "m1", "reason": "no"}]


@pytest.mark.parametrize("api", ["commands-0.5", "entities"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ok": False},
        {"ok": 1, "queued": 1, "rejected": []},
        {"ok": "true", "rejected": []},
        {"detail": "boom"},
        {"queued": 1, "rejected": []},
        {"ok": True, "rejected": 5},
        {"ok": True, "rejected": {"m1": "no"}},
        {"ok": True, "rejected": ["m1"]},
        {"ok": True, "rejected": [{"reason": "no"}]},
        {"ok": True, "rejected": [*REFUSED, {"id": None}]},
        {"ok": True, "rejected": [*REFUSED, 5]},
        {"ok": False, "rejected": 5},
        {"result": OK},
        [],
        [OK],
        "ok",
        5,
        True,
        None,
    ],
)
def test_a_200_that_is_not_the_proxys_is_trouble_that_passes(api: str, body: Any) -> None:
    with pytest.raises(ProxyUnavailable) as caught:
        client(answering(200, body), api=api).submit(messages("m1"))
    assert (caught.value.status, caught.value.maybe_accepted, caught.value.remedy) == (200, True, None)


@pytest.mark.parametrize("content", [b"", b"<html>Welcome</html>", b'{"ok": tru', b"[" * 100_000, b"\xff"])
def test_a_200_without_json_is_trouble_that_passes(content: bytes) -> None:
    with pytest.raises(ProxyUnavailable) as caught:
        client(lambda request: httpx.Response(200, content=content)).submit(messages("m1"))
    assert (caught.value.maybe_accepted, caught.value.remedy) == (True, None)


@pytest.mark.parametrize("status", [201, 202, 203, 204, 206])
def test_another_success_is_none(status: int) -> None:
    with pytest.raises(ProxyUnavailable) as caught:
        client(answering(status, None if status == 204 else OK)).submit(messages("m1"))
    assert (caught.value.status, caught.value.maybe_accepted) == (status, True)


@pytest.mark.parametrize("api", ["commands-0.5", "entities"])
def test_an_answer_counts_by_its_word_ok(api: str) -> None:
    for body in ({"ok": True}, {"ok": True, "rejected": None}, {**OK, "more": 1}):
        assert client(answering(200, body), api=api).submit(messages("m1", "m2")).accepted == ("m1", "m2")


@pytest.mark.parametrize("body", [{"rejected": REFUSED}, {"ok": False, "rejected": REFUSED}, {"rejected": REFUSED * 2}])
def test_an_answer_counts_without_ok_for_those_that_it_names(body: Any) -> None:
    answer = client(answering(200, body)).submit(messages("m1", "m2"))
    assert (answer.accepted, dict(answer.rejected)) == ((), {"m1": "no"})
    assert list(answer.unsettled) == ["m2"]


def test_a_refusal_of_all_that_names_one_leaves_the_other_unsettled() -> None:
    answer = client(answering(400, {"detail": {"error": None, "rejected": REFUSED}}), api="commands-0.5").submit(
        messages("m1", "m2")
    )
    assert (answer.accepted, list(answer.rejected), list(answer.unsettled)) == ((), ["m1"], ["m2"])


@pytest.mark.parametrize("reason", [None, "", 5, ["a@example.com"], {"a": 1}])
def test_a_reason_that_is_no_text_is_none(reason: Any) -> None:
    body = {"ok": True, "rejected": [{"id": "m1", "reason": reason}]}
    assert client(answering(200, body)).submit(messages("m1")).rejected == {"m1": "no reason given"}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 599])
def test_what_may_pass_is_unavailable(status: int) -> None:
    with pytest.raises(ProxyUnavailable) as caught:
        client(answering(status)).submit(messages("m1"))
    assert (caught.value.status, caught.value.remedy) == (status, None)
    assert caught.value.maybe_accepted is (status >= 500)


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 407, 421])
@pytest.mark.parametrize("body", [None, {"detail": "no"}])
def test_what_somebody_has_to_fix_is_unavailable_with_a_remedy(status: int, body: Any) -> None:
    headers = {"location": "https://elsewhere.example/"} if status < 400 else {}
    with pytest.raises(ProxyUnavailable) as caught:
        client(answering(status, body, **headers)).submit(messages("m1"))
    assert (caught.value.status, caught.value.maybe_accepted) == (status, False)
    assert caught.value.remedy
    assert str(caught.value) == f"{caught.value.problem}. {caught.value.remedy}"


@pytest.mark.parametrize(
    "handle",
    [
        answering(402, {"detail": "pay"}),
        answering(406),
        answering(410, {"error": "gone"}),
        answering(451),
        answering(400),
        answering(400, {"message": "Bad Request"}),
        answering(400, ["detail"]),
        answering(422, "error"),
        lambda request: httpx.Response(400, text="<html>400 Bad Request</html>"),
        lambda request: httpx.Response(422, content=b'{"detail"'),
    ],
)
def test_any_other_refusal_is_trouble_that_passes(handle: Handler) -> None:
    with pytest.raises(ProxyUnavailable) as caught:
        client(handle).submit(messages("m1"))
    assert (caught.value.maybe_accepted, caught.value.remedy) == (False, None)


@pytest.mark.parametrize(
    "handle",
    [
        answering(400, {"detail": "x"}),
        answering(400, {"detail": {"error": "Cannot enqueue more", "rejected": None}}),
        answering(400, {"error": "{'error': None, 'rejected': []}"}),
        answering(422, {"detail": [{"loc": None, "type": None}]}),
        answering(422, {"detail": {"loc": 5}}),
        answering(422, {"error": "Invalid request body"}),
        answering(413),
        lambda request: httpx.Response(413, text="<html>413 Request Entity Too Large</html>"),
    ],
)
@pytest.mark.parametrize("api", ["commands-0.5", "entities"])
def test_what_is_said_of_this_very_mail_ends_it(api: str, handle: Handler) -> None:
    with pytest.raises(ProxyRequestError) as caught:
        client(handle, api=api).submit(messages("m1"))
    assert caught.value.status in (400, 413, 422)


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=90), usegmt=True)
    for value, bounds in (("30", (30, 30)), (later, (80, 91)), ("soon", None)):
        with pytest.raises(ProxyUnavailable) as caught:
            client(answering(503, **{"retry-after": value})).submit(messages("m1"))
        wait = caught.value.retry_after_seconds
        assert wait is None if bounds is None else (wait is not None and bounds[0] <= wait <= bounds[1])


def test_a_422_names_the_fields_but_not_what_stood_in_them() -> None:
    detail = [{"loc": ["body", "messages", 0, "to"], "type": "list_type", "input": "bob@example.com"}]
    with pytest.raises(ProxyRequestError, match=r"body\.messages\.0\.to: list_type") as caught:
        client(answering(422, {"detail": detail})).submit(messages("m1"))
    assert "bob" not in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"loc": None, "type": None},
        {"loc": "bob@example.com", "type": ["bob@example.com"]},
        {"loc": [{"bob@example.com": 1}, "bob@example.com", None], "type": "x\nforged line"},
        {},
    ],
)
def test_a_422_of_another_shape_quotes_nothing(entry: Any) -> None:
    with pytest.raises(ProxyRequestError, match="It says of the fields") as caught:
        client(answering(422, {"detail": [5, entry]})).submit(messages("m1"))
    assert "bob" not in str(caught.value)
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("status", [400, 406, 413, 422, 500])
def test_one_poisonous_message_does_not_take_its_neighbours_down(status: int) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if "bad" in ids_of(request):
            return httpx.Response(status, json={"detail": "x"} if status == 422 else {})
        return httpx.Response(200, json={"ok": True, "rejected": []})

    answer = client(handle).submit(messages("a", "b", "bad", "c", "d"))
    assert sorted(answer.accepted) == ["a", "b", "c", "d"]
    assert list(answer.rejected if status in (413, 422) else answer.unsettled) == ["bad"]


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 429, 503])
def test_a_proxy_that_takes_nothing_is_not_asked_for_every_half(status: int) -> None:
    calls = []

    def handle(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(status)

    with pytest.raises(ProxyUnavailable):
        client(handle).submit(messages(*"abcdefgh"))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("status", "body", "held"),
    [(200, {"id": "m1"}, True), (200, {"id": "another"}, False), (500, None, False), (404, {"detail": "no"}, False)],
)
def test_0_7_0_is_asked_whether_it_holds_a_message(status: int, body: Any, held: bool) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"message_id": "m1", "tenant_id": "acme"}
        return httpx.Response(status, json=body)

    assert client(handle).holds("m1", "acme") is held


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, None), (200, []), (204, None), (302, None), (401, {}), (422, {"detail": "odd id"}), (503, None)],
)
def test_an_answer_that_is_not_the_proxys_does_not_say_that_it_holds_a_message(status: int, body: Any) -> None:
    with pytest.raises(ProxyUnavailable):
        client(answering(status, body)).holds("m1", "acme")


# Tenants


ATTACHMENT = {"filename": "a.txt", "storage_path": "x=1", "fetch_mode": "endpoint"}


@pytest.mark.parametrize(
    ("status", "tenant"),
    [
        (200, None),
        (200, []),
        (200, {"id": "t1", "client_base_url": 5}),
        (200, {"id": "t1", "client_auth": "secret"}),
        (500, {"tenants": []}),
        (500, [{"id": "t1", "client_base_url": 5}]),
        (500, [5]),
        (401, None),
    ],
)
def test_an_odd_tenant_makes_its_mails_wait_and_no_other(status: int, tenant: Any) -> None:
    submitted = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tenants/get":
            return httpx.Response(status, json=tenant if status == 200 else None)
        if request.url.path == "/tenants/list":
            return httpx.Response(status if status == 401 else 200, json=tenant)
        submitted.extend(ids_of(request))
        return httpx.Response(200, json=OK)

    mails: list[dict[str, Any]] = [
        {"id": "m1"},
        {"id": "m2", "tenant_id": "t1", "attachments": [ATTACHMENT]},
        {"id": "m3"},
    ]
    answer = client(handle).submit(mails)
    assert (answer.accepted, list(answer.unsettled)) == (("m1", "m3"), ["m2"])
    problem = answer.unsettled["m2"]
    assert isinstance(problem, ProxyUnavailable)
    assert not problem.maybe_accepted
    assert submitted == ["m1", "m3"]


def test_a_tenant_that_the_proxy_will_not_show_is_asked_for_once_in_a_list() -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/tenants/"):
            asked.append(request.url.path)
            return httpx.Response(403)
        return httpx.Response(200, json=OK)

    fetched = {"tenant_id": "t1", "attachments": [ATTACHMENT]}
    answer = client(handle).submit([{"id": "m1", **fetched}, {"id": "m2", **fetched}, {"id": "m3", "tenant_id": "t1"}])
    assert (answer.accepted, list(answer.unsettled)) == (("m3",), ["m1", "m2"])
    assert asked == ["/tenants/get", "/tenants/list"]


@pytest.mark.parametrize("body", [None, [], 5, {}, {"messages": 5}, {"messages": [5]}, {"tenants": {}}])
@pytest.mark.parametrize("api", ["commands-0.5", "entities"])
def test_lists_that_are_none_are_trouble(api: str, body: Any) -> None:
    proxy = client(answering(200, body), api=api)
    if api == "entities" and body == []:
        assert proxy.messages("acme") == []
        return
    asks: list[Callable[[], Any]] = [lambda: proxy.messages("acme"), proxy.tenants, lambda: proxy.accounts("acme")]
    for ask in asks:
        with pytest.raises(ProxyUnavailable, match="not as genro-mail-proxy does"):
            ask()
