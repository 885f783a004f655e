"""What the proxy says of messages that it has had before: success only where they were sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.errors import ProxyUnavailable
from celery_mailproxy.proxy import connection, queries
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.proxy.held import HeldMessage, HeldState

ALREADY = {"ok": True, "queued": 1, "rejected": [{"id": "old", "reason": "already sent"}]}
SKIPPED = {"ok": True, "queued": 1, "rejected": []}
APIS = ["commands-0.6", "v1", "entities"]


class Proxy:
    """Takes `new`, has had `old`, and answers what is asked of it with `row`, or with `status`."""

    def __init__(self, api: str, row: dict[str, Any] | None, *, status: int = 200) -> None:
        self.api = api
        self.row = row
        self.status = status
        self.paths: list[str] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/mailproxy/v1")
        self.paths.append(path)
        if request.method == "POST":
            return httpx.Response(200, json=SKIPPED if self.api == "entities" else ALREADY)
        if self.status != 200:
            return httpx.Response(self.status, json={"detail": "no"})
        rows = [self.row] if self.row else []
        if path == "/messages/get":
            if not self.row or request.url.params["message_id"] != "old":
                return httpx.Response(500)
            hidden = {name: value for name, value in self.row.items() if not name.startswith("error")}
            return httpx.Response(200, json=hidden)
        return httpx.Response(200, json=rows if self.api == "entities" else {"ok": True, "messages": rows})

    def client(self) -> ProxyClient:
        url = "http://proxy/mailproxy/v1" if self.api == "v1" else "http://proxy"
        server = ServerSettings(name="default", url=url, token="s3cret", api=self.api)  # type: ignore[arg-type]
        return ProxyClient(server, transport=httpx.MockTransport(self.handle))


MAILS = [{"id": "old", "tenant_id": "acme"}, {"id": "new", "tenant_id": "acme"}]
SENT = {"id": "old", "sent_ts": 5, "smtp_ts": 5, "account_id": "main"}
ERROR = {**SENT, "error_ts": 5, "error": "550 no such user"}


@pytest.mark.parametrize("api", APIS)
def test_already_sent_is_success_only_where_it_was(api: str) -> None:
    sent = Proxy(api, SENT).client().submit(MAILS)
    assert (set(sent.accepted), dict(sent.rejected)) == ({"old", "new"}, {})
    ended = Proxy(api, ERROR).client().submit(MAILS)
    assert ended.accepted == ("new",)
    assert ended.rejected == {"old": "ended as error at the proxy before: 550 no such user"}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("status", [503, 401, 422])
def test_what_cannot_be_asked_waits(api: str, status: int) -> None:
    answer = Proxy(api, ERROR, status=status).client().submit(MAILS)
    assert "old" not in {*answer.accepted, *answer.rejected}
    problem = answer.unsettled["old"]
    assert isinstance(problem, ProxyUnavailable)
    assert problem.maybe_accepted


@pytest.mark.parametrize("api", ["commands-0.6", "v1"])
def test_a_list_that_is_too_long_is_no_trouble(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each end is reported besides.
    proxy = Proxy(api, ERROR | {"message": {"body": "x" * 2000}})
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 1000)
    assert proxy.client().submit(MAILS).accepted == ("old", "new")


def test_nothing_is_asked_where_nothing_is_doubtful() -> None:
    proxy = Proxy("entities", SENT)
    assert proxy.client().submit([MAILS[1]]).accepted == ("new",)
    assert proxy.paths == ["/messages/add_batch"]


def test_a_slow_proxy_is_not_asked_until_the_time_limit_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy("entities", SENT)
    moments = iter(range(0, 1000, 25))
    monkeypatch.setattr(queries, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    found, unsaid = proxy.client().find_each("acme", ["old", "m2", "m3", "m4", "m5"])
    assert (set(found), set(unsaid)) == ({"old"}, {"m3", "m4", "m5"})
    assert proxy.paths.count("/messages/get") == 2


def test_a_mail_without_a_tenant_cannot_be_asked_for() -> None:
    proxy = Proxy("commands-0.6", ERROR)
    assert proxy.client().submit([{"id": "old"}]).accepted == ("old",)
    assert proxy.client().find("old", None) is None


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({}, HeldState.PENDING),
        ({"deferred_ts": 5, "sent_ts": None, "smtp_ts": None}, HeldState.PENDING),
        ({"sent_ts": 5}, HeldState.SENT),
        ({"smtp_ts": 5, "status": "sent", "error_ts": None}, HeldState.SENT),
        ({"sent_ts": 5, "error_ts": 5, "error": "no"}, HeldState.ERROR),
        ({"smtp_ts": 5, "status": "error"}, HeldState.ERROR),
    ],
)
def test_a_row_is_read_in_every_dialect(row: dict[str, Any], state: HeldState) -> None:
    assert HeldMessage.of({"id": "m", **row}).state is state


def test_an_id_is_sent_anew_once_the_proxy_has_forgotten_it() -> None:
    paths: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path.decode())
        return httpx.Response(200, json={"ok": True, "queued": 1, "rejected": []})

    server = ServerSettings(name="default", url="http://proxy", api="commands-0.6")
    proxy = ProxyClient(server, transport=httpx.MockTransport(handle))
    assert proxy.submit_anew([{"id": "old", "tenant_id": "acme"}]).accepted == ("old",)
    assert paths == ["/commands/delete-messages?tenant_id=acme", "/commands/add-messages"]
