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
        if path == "/openapi.json":
            submit = {"entities": "/messages/add_batch", "commands": "/commands/add-messages"}[self.api]
            return httpx.Response(200, json={"paths": {submit: {}}})
        if request.headers.get("X-API-Token") != TOKEN:
            return httpx.Response(401, json={"detail": "Invalid or missing API token"})
        if path in ("/accounts/list", "/accounts"):
            body = self.accounts if self.api == "entities" else {"ok": True, "accounts": self.accounts}
            return httpx.Response(200, json=body)
        if path == "/instance/status":
            return httpx.Response(200, json={"ok": True, "active": self.is_active})
        if not self.knows_tenant:
            return httpx.Response(500 if self.api == "entities" else 404, text="Internal Server Error")
        return httpx.Response(200, json=self.tenant)


SERVER = ServerSettings(name="default", url="http://proxy", token=TOKEN, tenant="acme", account="main")


def proxy_links(wire: WireProxy, server: ServerSettings = SERVER) -> dict[str, Link]:
    connect = partial(ProxyClient, transport=httpx.MockTransport(wire.answer))
    with ProxyProbe(server, connect=connect) as probe:
        return {link.name: link for link in probe.links()}


@pytest.mark.parametrize("api", ["commands", "entities"])
def test_a_proxy_in_order_has_no_failed_link(api: str) -> None:
    links = proxy_links(WireProxy(api))
    outcomes = {name: link.outcome for name, link in links.items()}
    assert outcomes.pop("sending") is (Outcome.OK if api == "entities" else Outcome.SKIPPED)
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


def test_an_api_that_is_set_wrongly_fails() -> None:
    link = proxy_links(WireProxy("entities"), replace(SERVER, api="commands"))["API"]
    assert link.outcome is Outcome.FAILED
    assert link.remedy == "Set mail_proxy_api to 'auto'."


@pytest.mark.parametrize("api", ["commands", "entities"])
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
