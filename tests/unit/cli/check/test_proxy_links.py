"""The links to one proxy, whose answers need no network."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest

from celery_mailproxy.cli.check.links import Link, Outcome
from celery_mailproxy.cli.check.proxy_links import ProxyProbe
from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.testing import FakeProxy
from tests.unit.cli.shop import TOKEN


class WireProxy:
    """The proxy's answers, without a network."""

    def __init__(self, api: str = "entities") -> None:
        self.api = api
        self.is_down = False
        self.is_active = True
        self.knows_tenant = True
        self.tenant: dict[str, Any] = {"id": "acme", "active": True}
        self.accounts = [{"id": "main", "host": "smtp.example.com", "port": 587, "use_tls": True}]

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        path = request.url.path
        if path == "/health":
            return httpx.Response(200, json={"status": "ok"})
        submit = "/messages/add_batch" if self.api == "entities" else "/commands/add-messages"
        if path == "/openapi.json":
            key: dict[str, Any] = {"/tenant/{tenant_id}/api-key": {}} if self.api == "commands-0.6" else {}
            return httpx.Response(200, json={"paths": {submit: {}, **key}})
        if path in {"/messages/add_batch", "/commands/add-messages", "/mailproxy/v1/commands/add-messages"} - {submit}:
            return httpx.Response(404, json={"detail": "Not Found"})
        if request.headers.get("X-API-Token") != TOKEN:
            return httpx.Response(401, json={"detail": "Invalid or missing API token"})
        if path == submit:
            return httpx.Response(200, json={"ok": True, "queued": 0, "rejected": []})
        if path in ("/accounts/list", "/accounts"):
            body = self.accounts if self.api == "entities" else {"ok": True, "accounts": self.accounts}
            return httpx.Response(200, json=body)
        if path in ("/instance/status", "/status"):
            return httpx.Response(200, json={"ok": True, "active": self.is_active})
        if not self.knows_tenant:
            return httpx.Response(500 if self.api == "entities" else 404, text="Internal Server Error")
        return httpx.Response(200, json=self.tenant)


SERVER = ServerSettings(name="default", url="http://proxy", token=TOKEN, tenant="acme", account="main")


def proxy_links(wire: WireProxy, server: ServerSettings = SERVER) -> dict[str, Link]:
    connect = partial(ProxyClient, transport=httpx.MockTransport(wire.answer))
    with ProxyProbe(server, connect=connect) as probe:
        return {link.name: link for link in probe.links()}


@pytest.mark.parametrize("api", ["commands-0.5", "commands-0.6", "entities"])
def test_a_proxy_in_order_has_no_failed_link(api: str) -> None:
    links = proxy_links(WireProxy(api))
    outcomes = {name: link.outcome for name, link in links.items()}
    assert outcomes.pop("sending") is (Outcome.SKIPPED if api == "commands-0.5" else Outcome.OK)
    assert set(outcomes.values()) == {Outcome.OK}
    assert links["account"].found == "main: smtp.example.com:587, TLS"
    assert api in links["API"].found


def test_a_proxy_that_is_down_is_one_failure() -> None:
    wire = WireProxy()
    wire.is_down = True
    links = proxy_links(wire)
    assert links["proxy"].outcome is Outcome.FAILED
    assert links["proxy"].remedy == "Start the proxy, or correct mail_proxy_url."
    assert {links[name].outcome for name in ("API", "token", "tenant", "account")} == {Outcome.SKIPPED}


def test_a_wrong_and_a_missing_token_are_told_apart() -> None:
    wrong = proxy_links(WireProxy(), replace(SERVER, token="nonsense"))["token"]
    assert (wrong.outcome, "is wrong" in wrong.found) == (Outcome.FAILED, True)
    assert "Set mail_proxy_token" in (wrong.remedy or "")
    assert "is missing" in proxy_links(WireProxy(), replace(SERVER, token=None))["token"].found


@pytest.mark.parametrize(
    ("spoken", "configured"),
    [("entities", "commands"), ("entities", "commands-0.6"), ("commands-0.5", "commands-0.6"), ("commands-0.6", "v1")],
)
def test_an_api_that_is_set_wrongly_fails(spoken: str, configured: Any) -> None:
    link = proxy_links(WireProxy(spoken), replace(SERVER, api=configured))["API"]
    assert link.outcome is Outcome.FAILED
    assert spoken in link.found
    assert link.remedy == "Set mail_proxy_api to 'auto'."


@pytest.mark.parametrize("spoken", ["commands-0.5", "commands-0.6"])
def test_commands_is_right_for_whichever_release_has_it(spoken: str) -> None:
    assert proxy_links(WireProxy(spoken), replace(SERVER, api="commands"))["API"].outcome is Outcome.OK


@pytest.mark.parametrize("profile", ["commands-0.5", "commands-0.6", "entities", "v1"])
def test_the_release_is_named(profile: Any) -> None:
    with FakeProxy(profile) as fake:
        server = ServerSettings(
            name="default", url=fake.url, token=fake.token, tenant=fake.tenant_id, account=fake.account_id
        )
        with ProxyProbe(server) as probe:
            links = {link.name: link for link in probe.links()}
    release = {"commands-0.5": "0.5.0", "commands-0.6": "0.5.8 to 0.6.10", "entities": "0.7.0", "v1": "development"}
    assert profile in links["API"].found
    assert release[profile] in links["API"].found
    assert Outcome.FAILED not in {link.outcome for link in links.values()}


@pytest.mark.parametrize(
    ("profile", "heals", "outcome", "words"),
    [
        ("entities", True, Outcome.OK, "it loses emails that it defers, and workers heal them"),
        ("entities", False, Outcome.WARNING, "it loses emails that it defers"),
        ("commands-0.6", False, Outcome.OK, "0.6.10)"),
    ],
)
def test_a_proxy_that_loses_deferred_mails_is_named(profile: Any, heals: bool, outcome: Outcome, words: str) -> None:
    with FakeProxy(profile) as fake:
        server = ServerSettings(name="default", url=fake.url, token=fake.token)
        with ProxyProbe(server, heals=heals) as probe:
            link = next(link for link in probe.links() if link.name == "API")
    assert link.outcome is outcome
    assert link.found.endswith(words)


def test_the_place_that_was_found_is_named() -> None:
    with FakeProxy("v1") as fake, ProxyProbe(ServerSettings(name="default", url=fake.url, token=fake.token)) as probe:
        links = {link.name: link for link in probe.links()}
    assert "at /mailproxy/v1" in links["API"].found


@pytest.mark.parametrize("api", ["commands-0.5", "entities"])
def test_an_unknown_tenant_fails(api: str) -> None:
    wire = WireProxy(api)
    wire.knows_tenant = False
    link = proxy_links(wire)["tenant"]
    assert (link.outcome, link.found) == (Outcome.FAILED, "the proxy knows no tenant 'acme'")


def test_a_tenant_that_does_not_send_fails() -> None:
    wire = WireProxy()
    wire.tenant["active"] = False
    assert "not active" in proxy_links(wire)["tenant"].found
    wire.tenant |= {"active": True, "suspended_batches": "*"}
    assert "suspended" in proxy_links(wire)["tenant"].found
    wire.is_active = False
    assert "not active" in proxy_links(wire)["sending"].found


def test_a_missing_account_fails_and_names_those_there_are() -> None:
    link = proxy_links(WireProxy(), replace(SERVER, account="bulk"))["account"]
    assert (link.outcome, link.found) == (Outcome.FAILED, "no account 'bulk': the tenant has main")
    assert proxy_links(WireProxy(), replace(SERVER, account=None))["account"].outcome is Outcome.WARNING
