"""Which API a proxy speaks: told from its answers, kept, and looked at again; and never a mail's end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.errors import ProxyUnavailable
from celery_mailproxy.proxy import dialect
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.testing import FakeProxy
from tests.harness.waiting import PATIENCE_SECONDS
from tests.unit.testing.messages import message

COMMANDS = "/commands/add-messages"
ENTITIES = "/messages/add_batch"
V1 = "/mailproxy/v1"
OK = {"ok": True, "queued": 0, "rejected": []}
NO_TOKEN = {"detail": "Invalid or missing API token"}
PROFILES = ["commands-0.5", "commands-0.6", "entities", "v1"]


class Server:
    """Answers by path, as (status, body); 404 as FastAPI does for any other."""

    def __init__(self, answers: Mapping[str, tuple[int, Any]]) -> None:
        self.answers = dict(answers)
        self.paths: list[str] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        status, body = self.answers.get(request.url.path, (404, {"detail": "Not Found"}))
        return httpx.Response(status, json=body)

    def client(self, *, api: Any = "auto", url: str = "http://proxy:8000") -> ProxyClient:
        return client(self.handle, api=api, url=url)


def client(
    handle: Callable[[httpx.Request], httpx.Response], *, api: Any = "auto", url: str = "http://proxy:8000"
) -> ProxyClient:
    server = ServerSettings(name="default", url=url, token="s3cret", api=api)
    return ProxyClient(server, transport=httpx.MockTransport(handle))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("token", ["right", "wrong"])
def test_each_release_is_told_once_and_without_a_side_effect(profile: Any, token: str) -> None:
    with FakeProxy(profile) as fake:
        server = ServerSettings(name="default", url=fake.url, token=fake.token if token == "right" else "wrong")
        proxy = ProxyClient(server)
        assert proxy.api.name == profile
        asked = len(fake.requests)
        assert proxy.api.name == profile
        assert len(fake.requests) == asked <= 4
        assert all(request.method == "GET" or request.json() == {"messages": []} for request in fake.requests)
        assert fake.received == []
        if token == "right":
            assert proxy.submit([message("m")]).accepted == ("m",)
        proxy.close()


@pytest.mark.parametrize("url", ["http://proxy:8000", "http://proxy:8000/mailproxy/v1"])
@pytest.mark.parametrize("api", ["auto", "commands", "v1"])
def test_v1_is_found_at_the_url_and_below_it(url: str, api: str) -> None:
    server = Server({V1 + COMMANDS: (200, OK), V1 + "/openapi.json": (404, {"error": "route:v1"})})
    proxy = server.client(api=api, url=url)
    assert proxy.api.name == "v1"
    assert proxy.submit([{"id": "m1"}]).accepted == ("m1",)
    assert server.paths[-1] == V1 + COMMANDS


def test_v1_behind_a_gateway_at_another_path_is_found_by_what_it_says() -> None:
    server = Server({"/mail" + COMMANDS: (200, OK), "/mail/openapi.json": (404, {"error": "route:v1"})})
    assert server.client(url="http://proxy:8000/mail").api.name == "v1"


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ({"/status": (200, {"ok": True})}, "commands-0.5"),
        ({"/status": (200, {"ok": True, "active": True})}, "commands-0.6"),
        (
            {"/status": (200, {"ok": True, "active": True}), "/commands/none": (404, {"error": "route:v1/commands"})},
            "v1",
        ),
    ],
)
@pytest.mark.parametrize("hidden", [(403, "<html>"), (404, None), (200, {"paths": {}})])
def test_a_release_that_hides_its_document_is_told_by_its_status(
    answers: Mapping[str, Any], name: str, hidden: tuple[int, Any]
) -> None:
    server = Server({COMMANDS: (200, OK), "/openapi.json": hidden, **answers})
    assert server.client().api.name == name


@pytest.mark.parametrize("api", ["commands-0.5", "commands-0.6", "entities"])
def test_what_the_settings_fix_is_not_asked(api: str) -> None:
    server = Server({COMMANDS: (200, OK), ENTITIES: (200, OK)})
    assert server.client(api=api).api.name == api
    assert server.paths == []


def test_commands_is_that_of_whichever_release_has_it() -> None:
    for profile in ("commands-0.5", "commands-0.6", "v1"):
        with FakeProxy(profile) as fake:
            proxy = ProxyClient(ServerSettings(name="default", url=fake.url, token=fake.token, api="commands"))
            assert proxy.api.name == profile
            proxy.close()
    with FakeProxy("entities") as fake:
        proxy = ProxyClient(ServerSettings(name="default", url=fake.url, token=fake.token, api="commands"))
        with pytest.raises(ProxyUnavailable, match="has none of /commands/add-messages, /mailproxy/v1") as caught:
            proxy.submit([message("m")])
        assert not caught.value.maybe_accepted
        proxy.close()


@pytest.mark.parametrize("status", [401, 403])
def test_a_gateway_that_asks_for_a_login_everywhere_tells_nothing(status: int) -> None:
    proxy = client(lambda request: httpx.Response(status, json=NO_TOKEN))
    with pytest.raises(ProxyUnavailable, match="answers alike at the paths of different releases") as caught:
        proxy.submit([{"id": "m1"}])
    assert (caught.value.status, caught.value.maybe_accepted) == (status, False)
    assert "mail_proxy_api" in str(caught.value)


@pytest.mark.parametrize("body", [{"paths": {}}, {"ok": False}, {"ok": "true"}, [], 5, None, "ok", {}])
def test_a_200_that_is_not_the_proxys_tells_nothing(body: Any) -> None:
    with pytest.raises(ProxyUnavailable, match="but not as genro-mail-proxy does") as caught:
        client(lambda request: httpx.Response(200, json=body)).submit([{"id": "m1"}])
    assert not caught.value.maybe_accepted
    # Mostly the URL is wrong: that comes first.
    remedy = str(caught.value.remedy)
    assert remedy.startswith("Check mail_proxy_url")
    assert "Set mail_proxy_api only where" in remedy


@pytest.mark.parametrize("status", [404, 405])
def test_another_server_is_told_apart(status: int) -> None:
    with pytest.raises(ProxyUnavailable, match="not a genro-mail-proxy that we know") as caught:
        client(lambda request: httpx.Response(status, text="<html>")).submit([{"id": "m1"}])
    assert (caught.value.maybe_accepted, "Check mail_proxy_url" in str(caught.value)) == (False, True)


@pytest.mark.parametrize(
    ("status", "has_remedy"),
    [(204, True), (302, True), (407, True), (400, True), (413, True), (429, False), (500, False), (503, False)],
)
def test_a_proxy_that_does_not_say_which_it_is_makes_mails_wait(status: int, has_remedy: bool) -> None:
    body = None if status == 204 else {"detail": "no"}
    with pytest.raises(ProxyUnavailable) as caught:
        client(lambda request: httpx.Response(status, json=body)).submit([{"id": "m1"}])
    assert (caught.value.remedy is not None, caught.value.maybe_accepted) == (has_remedy, False)


def test_who_has_not_told_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({})
    proxy = server.client()
    for _ in range(3):
        with pytest.raises(ProxyUnavailable):
            proxy.submit([{"id": "m1"}])
    # Each mail that waits would ask.
    assert server.paths == [COMMANDS, ENTITIES, V1 + COMMANDS]
    server.answers[ENTITIES] = (200, OK)
    monkeypatch.setattr(dialect, "_UNTOLD_SECONDS", 0.0)
    assert proxy.submit([{"id": "m1"}]).accepted == ("m1",)


def test_who_cannot_be_reached_is_asked_again_at_once() -> None:
    is_down = True

    def handle(request: httpx.Request) -> httpx.Response:
        if is_down:
            raise httpx.ConnectError("refused")
        return Server({ENTITIES: (200, OK)}).handle(request)

    proxy = client(handle)
    with pytest.raises(ProxyUnavailable):
        proxy.submit([{"id": "m1"}])
    is_down = False
    assert proxy.submit([{"id": "m1"}]).accepted == ("m1",)


def test_a_proxy_exchanged_for_one_of_another_release_is_asked_anew() -> None:
    server = Server({COMMANDS: (200, OK), "/openapi.json": (200, {"paths": {COMMANDS: {}}})})
    proxy = server.client()
    proxy.submit([{"id": "m1"}])
    assert proxy.api.name == "commands-0.5"
    server.answers = {ENTITIES: (200, OK)}
    assert proxy.submit([{"id": "m2"}]).accepted == ("m2",)
    assert proxy.api.name == "entities"


def test_a_known_proxy_is_looked_at_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({COMMANDS: (200, OK), "/openapi.json": (200, {"paths": {COMMANDS: {}}})})
    proxy = server.client()
    assert proxy.api.name == "commands-0.5"
    server.answers["/openapi.json"] = (200, {"paths": {COMMANDS: {}, "/tenant/{tenant_id}/api-key": {}}})
    assert proxy.api.name == "commands-0.5"
    monkeypatch.setattr(dialect, "_AGAIN_SECONDS", 0.0)
    assert proxy.api.name == "commands-0.6"
    # In trouble just now, it is what it was.
    server.answers = {COMMANDS: (503, None)}
    assert proxy.api.name == "commands-0.6"


def test_nobody_waits_for_another_that_asks_which_it_is() -> None:
    asked = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path != ENTITIES:
            return httpx.Response(404)
        if not json.loads(request.content)["messages"]:
            asked.wait()
        return httpx.Response(200, json=OK)

    proxy = client(handle)
    with ThreadPoolExecutor(2) as executor:
        answers = list(executor.map(lambda each: proxy.submit([{"id": each}]), ["m1", "m2"]))
    assert [each.accepted for each in answers] == [("m1",), ("m2",)]


def test_health_is_found_wherever_it_is() -> None:
    Server({"/health": (200, {"status": "ok"})}).client().health()
    Server({V1 + "/health": (200, {"status": "ok"})}).client().health()
    with pytest.raises(ProxyUnavailable):
        Server({}).client().health()
