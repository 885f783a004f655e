"""The links back from the proxy."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from celery_mailproxy.cli.check.callback_links import CallbackProbe
from celery_mailproxy.cli.check.links import Link, Outcome
from tests.unit.cli.shop import SYNC_TOKEN, settings

BEARER = {"method": "bearer", "token": SYNC_TOKEN}
TENANT = {"client_base_url": "http://app:9100/", "client_auth": BEARER}


def callback_links(answer: Any, tenant: Any = TENANT, *, conf: Any = None, url: str | None = None) -> dict[str, Link]:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        response: httpx.Response = answer(request) if callable(answer) else answer
        return response

    transport = httpx.MockTransport(handle)
    probe = CallbackProbe(conf or settings(), tenant, "acme", url=url, transport=transport)
    links = {link.name: link for link in probe.links()}
    assert SYNC_TOKEN not in str(links)
    return links


GOOD = httpx.Response(200, json={"ok": True, "queued": 0})


def test_a_callback_in_order_is_called_as_the_proxy_calls_it() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return GOOD

    links = callback_links(answer)
    assert {link.outcome for link in links.values()} == {Outcome.OK}
    assert str(seen[0].url) == "http://app:9100/mail-proxy/sync"
    assert seen[0].headers["Authorization"] == f"Bearer {SYNC_TOKEN}"
    assert json.loads(seen[0].content) == {"delivery_report": []}


def test_nothing_has_to_come_back_where_outcomes_are_polled() -> None:
    links = callback_links(AssertionError("nobody is called"), None, conf=settings(mail_proxy_reports="poll"))
    assert {link.outcome for link in links.values()} == {Outcome.SKIPPED}
    assert all("mail_proxy_reports is 'poll'" in link.found for link in links.values())


def test_basic_credentials_are_compared_and_sent_as_such() -> None:
    conf = settings(mail_proxy_sync_token={"acme": "user:pass word"})
    auth = {"method": "basic", "user": "user", "password": "pass word"}
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return GOOD

    links = callback_links(answer, {**TENANT, "client_auth": auth}, conf=conf)
    assert links["callback token"].outcome is Outcome.OK
    assert seen == ["Basic dXNlcjpwYXNzIHdvcmQ="]


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (httpx.Response(200, html="<h1>Welcome</h1>"), Outcome.FAILED, "the proxy forgets the reports"),
        (httpx.Response(302, headers={"Location": "/login"}), Outcome.FAILED, "a redirect loses the report"),
        (httpx.Response(401), Outcome.FAILED, "has another mail_proxy_sync_token"),
        (httpx.Response(404), Outcome.FAILED, "set the tenant's client_sync_path"),
        (httpx.Response(405), Outcome.FAILED, "does not accept POST"),
        (httpx.Response(503), Outcome.FAILED, "check its broker and store"),
        (httpx.Response(418), Outcome.FAILED, "Check the receiver's log"),
        (httpx.ConnectError("[Errno 111] Connection refused"), Outcome.FAILED, "Start the receiver"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), Outcome.WARNING, "--callback-url"),
        (httpx.ReadTimeout("timed out"), Outcome.FAILED, "overloaded or firewalled"),
    ],
)
def test_whoever_answers_the_callback_is_judged(answer: Any, outcome: Outcome, words: str) -> None:
    link = callback_links(answer)["callback"]
    assert link.outcome is outcome
    assert words in (link.remedy or "")


@pytest.mark.parametrize(
    ("auth", "outcome", "words"),
    [
        (None, Outcome.FAILED, "client_auth is none"),
        ({"method": "bearer", "token": "another-token"}, Outcome.FAILED, "not the token"),
        ({"method": "bearer", "token": "********"}, Outcome.SKIPPED, "does not show"),
        ({"method": "basic", "user": "u", "password": "another"}, Outcome.FAILED, "not the token"),
    ],
)
def test_the_tenants_credential_is_compared_with_ours(auth: Any, outcome: Outcome, words: str) -> None:
    link = callback_links(GOOD, {**TENANT, "client_auth": auth})["callback token"]
    assert link.outcome is outcome
    assert words in link.found
    assert "another" not in link.found


def test_a_path_that_differs_is_a_warning_and_a_prefix_is_not() -> None:
    link = callback_links(GOOD, {**TENANT, "client_sync_path": "/other"})["callback URL"]
    assert link.outcome is Outcome.WARNING
    assert "client_sync_path to /mail-proxy/sync" in (link.remedy or "")
    mounted = {**TENANT, "client_base_url": "http://user:hunter2@app/api"}
    link = callback_links(GOOD, mounted)["callback URL"]
    assert (link.outcome, link.found) == (Outcome.OK, "http://user:***@app/api/mail-proxy/sync")


def test_a_tenant_without_a_url_gets_no_reports() -> None:
    links = callback_links(GOOD, {"client_auth": BEARER})
    assert links["callback URL"].outcome is Outcome.FAILED
    assert links["callback"].outcome is Outcome.SKIPPED
    links = callback_links(GOOD, None, url="http://here/mail-proxy/sync")
    assert links["callback"].outcome is Outcome.OK
