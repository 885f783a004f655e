"""The receiver as Django views: by Django's clients, and behind real servers that real proxies report to."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import django
import pytest
from celery import Celery
from django.conf import settings as django_settings
from django.db import connection, connections
from django.http import HttpRequest
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import include, path, reverse

from celery_mailproxy import attachment_resolver
from celery_mailproxy.deliveries.report import DeliveryReport
from celery_mailproxy.dispatch import signals
from celery_mailproxy.django import views
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import FakeProxy, MailSink, RealProxy
from tests.django.harness.default_app import default_app
from tests.django.harness.servers import SERVERS
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.waiting import wait_until

TOKEN = "a-sync-token"
BODY = json.dumps({"delivery_report": [{"id": "m1", "sent_ts": 1795324468}]})
URLS = ["/mail-proxy/sync", "/mail-proxy/sync/"]
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"

Post = Callable[..., Any]


@pytest.fixture
def told() -> Iterator[list[DeliveryReport]]:
    """The reports that were dispatched, and whether a transaction was open."""
    reports: list[DeliveryReport] = []

    def note(report: DeliveryReport, **kwargs: Any) -> None:
        reports.append(report)

    signals.mail_sent.connect(note)
    yield reports
    signals.mail_sent.disconnect(note)


@pytest.fixture
def app(told: list[DeliveryReport]) -> Iterator[Celery]:
    """The project's Celery app, the default one of every thread. It dispatches where it receives."""
    with default_app(
        mail_proxy_sync_token=TOKEN,
        mail_proxy_store=f"memory://{uuid4()}",
        mail_proxy_dispatch="inline",
        mail_proxy_park_seconds=0,
        mail_proxy_events=False,
    ) as app:
        yield app


@pytest.fixture(params=["sync", "async"])
def post(request: pytest.FixtureRequest, app: Celery) -> Post:
    """A POST as the proxy makes it, through the whole of Django's handler of that kind."""

    def post(url: str = URLS[0], body: str | bytes = BODY, *, token: str | None = TOKEN, **options: Any) -> Any:
        options.setdefault("content_type", "application/json")
        client = (Client if request.param == "sync" else AsyncClient)(enforce_csrf_checks=True)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer: Any = client.post(url, body, headers=headers, **options)
        return asyncio.run(answer) if request.param == "async" else answer

    return post


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("append_slash", [True, False])
def test_reports_are_taken_with_and_without_a_slash(
    post: Post, told: list[DeliveryReport], url: str, append_slash: bool
) -> None:
    with override_settings(APPEND_SLASH=append_slash):
        response = post(url)
    assert response.status_code == 200
    assert response.json() == {"ok": True, "queued": 0, "accepted": 1, "set_aside": 0}
    assert [report.message_id for report in told] == ["m1"]


def test_the_urls_have_names_and_no_slash_at_their_end() -> None:
    assert reverse("celery_mailproxy:sync") == "/mail-proxy/sync"
    assert reverse("celery_mailproxy:attachments") == "/mail-proxy/attachments"


def test_the_prefix_is_the_projects_own(post: Post, told: list[DeliveryReport]) -> None:
    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = [path("hooks/mp/", include("celery_mailproxy.django.urls"))]
    with override_settings(ROOT_URLCONF=urls):
        assert post("/hooks/mp/sync").status_code == 200
    assert len(told) == 1


def test_the_configured_path_does_not_matter(post: Post, app: Celery) -> None:
    app.conf.mail_proxy_report_path = "/somewhere/else"
    assert post().status_code == 200


@pytest.mark.parametrize(("token", "given"), [(None, "no token"), ("another", "a wrong token")])
def test_a_request_without_the_token_is_refused(
    post: Post, told: list[DeliveryReport], token: str | None, given: str
) -> None:
    response = post(token=token)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="mail-proxy", Basic realm="mail-proxy", charset="UTF-8"'
    assert response.json()["detail"].startswith(given)
    assert told == []


@pytest.mark.parametrize("url", [*URLS, "/mail-proxy/attachments"])
@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "options"])
def test_only_post_is_allowed(app: Celery, url: str, method: str) -> None:
    response = getattr(Client(), method)(url)
    assert (response.status_code, response["Allow"]) == (405, "POST")


@pytest.mark.skipif(django.VERSION < (5, 1), reason="LoginRequiredMiddleware came with Django 5.1")
def test_no_login_is_asked_for(post: Post) -> None:
    with override_settings(MIDDLEWARE=[*django_settings.MIDDLEWARE, LOGIN_REQUIRED]):
        assert post().status_code == 200


def test_a_body_over_the_limit_is_refused_and_not_read_to_its_end(app: Celery) -> None:
    app.conf.mail_proxy_max_report_bytes = 1000
    request = _unannounced(b"x" * 100_000)
    response = views.sync(request)
    assert (response.status_code, json.loads(response.content)["error"]) == (413, "too_large")
    assert request._stream.tell() == 1001


def test_an_announced_body_over_the_limit_is_not_read_at_all(app: Celery) -> None:
    app.conf.mail_proxy_max_report_bytes = 1000
    request = RequestFactory().post(
        URLS[0], b"x" * 2000, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {TOKEN}"
    )
    assert views.sync(request).status_code == 413
    assert not _is_read(request)


def test_an_unauthenticated_body_is_not_read(app: Celery) -> None:
    request = RequestFactory().post(URLS[0], BODY, content_type="application/json")
    assert views.sync(request).status_code == 401
    assert not _is_read(request)


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10)
def test_the_limit_for_forms_is_not_the_limit_for_reports(post: Post) -> None:
    assert post().status_code == 200


def test_a_body_that_a_middleware_has_read_is_read_all_the_same(app: Celery, told: list[DeliveryReport]) -> None:
    request = RequestFactory().post(
        URLS[0], BODY, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {TOKEN}"
    )
    assert request.body
    assert views.sync(request).status_code == 200
    assert len(told) == 1


def test_a_body_that_ends_early_acknowledges_nothing(app: Celery, told: list[DeliveryReport]) -> None:
    request = RequestFactory().post(
        URLS[0],
        BODY,
        content_type="application/json",
        HTTP_AUTHORIZATION=f"Bearer {TOKEN}",
        CONTENT_LENGTH=str(len(BODY) + 1),
    )
    # Django's own stand-in for a server's stream forbids to read to the end.
    request._stream = io.BytesIO(BODY.encode())
    response = views.sync(request)
    assert (response.status_code, json.loads(response.content)["error"]) == (400, "incomplete")
    assert told == []


def test_a_proxy_that_goes_away_acknowledges_nothing(
    app: Celery, told: list[DeliveryReport], caplog: pytest.LogCaptureFixture
) -> None:
    request = RequestFactory().post(
        URLS[0], BODY, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {TOKEN}"
    )
    stream: Any = SimpleNamespace(read=_gone)
    request._stream = stream
    assert views.sync(request).status_code == 400
    assert told == []
    assert "went away" in caplog.text


def test_reports_that_cannot_be_kept_are_not_acknowledged_nor_mailed_to_admins(
    post: Post, app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.mail_proxy_park_seconds = 10**9
    response = post()
    assert response.status_code == 503
    assert response["Retry-After"] == "30"
    errors = [record.name for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == ["celery_mailproxy.receiver.receiver"]


def test_wrong_settings_are_a_503_that_says_how_to_see_them(
    post: Post, app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.mail_proxy_chunk_size = "many"
    response = post()
    assert response.status_code == 503
    assert "manage.py check" in response.json()["detail"]
    assert "mail_proxy_chunk_size must be a whole number, got 'many'" in caplog.text
    assert "django.request" not in [record.name for record in caplog.records]


@pytest.mark.django_db(transaction=True)
def test_no_transaction_of_the_request_is_around_a_report(
    post: Post, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def note(**kwargs: Any) -> None:
        seen.append(connection.in_atomic_block)

    signals.mail_sent.connect(note)
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    try:
        assert post().status_code == 200
    finally:
        signals.mail_sent.disconnect(note)
    assert seen == [False]


def test_every_database_is_left_out_of_the_requests_transactions() -> None:
    assert vars(views.sync)["_non_atomic_requests"] == set(connections)
    assert vars(views.attachments)["_non_atomic_requests"] == set(connections)


@attachment_resolver("django_view_test")
def content_of(params: Any, tenant: Any) -> bytes:
    return f"content of {params['django_view_test']}".encode()


@pytest.mark.parametrize("slash", ["", "/"])
def test_attachments_are_served(post: Post, slash: str) -> None:
    url = f"/mail-proxy/attachments{slash}"
    response = post(url, json.dumps({"storage_path": "django_view_test=7"}))
    assert (response.status_code, response.content) == (200, b"content of 7")
    assert response["Content-Type"] == "application/octet-stream"
    assert post(url, json.dumps({"storage_path": "django_view_test=7"}), token=None).status_code == 401


# Behind real servers


@pytest.mark.integration
@override_settings(ALLOWED_HOSTS=["127.0.0.1"])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", ["fake commands", "fake entities", "real commands", "real entities"])
def test_a_proxy_reports_to_a_real_server(
    app: Celery, told: list[DeliveryReport], mail_sink: MailSink, server: str, kind: str
) -> None:
    reality, api = kind.split()
    with ExitStack() as stack:
        url = stack.enter_context(SERVERS[server]())
        proxy = stack.enter_context((FakeProxy if reality == "fake" else RealProxy)(api))  # type: ignore[arg-type]
        tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
        app.conf.mail_proxy_sync_token = tenant.sync_token
        # As Django's own URL has it, and as an administrator may write it.
        tenant.add(url, sync_path="/mail-proxy/sync/" if api == "commands" else None)
        message = {
            "id": tenant.message_id("mail"),
            "tenant_id": tenant.id,
            "account_id": tenant.account_id,
            "from": "shop@example.com",
            "to": ["to@example.com"],
            "subject": "Subject",
            "body": "Body",
        }
        assert proxy.submit([message]).status_code == 200
        wait_until(lambda: told)
    assert [report.message_id for report in told] == [message["id"]]


def test_each_servers_thread_finds_the_projects_app(app: Celery) -> None:
    """What the servers rely on: Celery's default app, in threads that have never seen another."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(get_runtime().app))
    thread.start()
    thread.join()
    assert found == [app]


def _unannounced(body: bytes) -> Any:
    """A request without a Content-Length, as Django's ASGI handler makes one of a chunked body."""
    request = RequestFactory().post(
        URLS[0], body, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {TOKEN}"
    )
    del request.META["CONTENT_LENGTH"]
    request._stream = io.BytesIO(body)
    return request


def _is_read(request: HttpRequest) -> bool:
    return bool(vars(request)["_read_started"])


def _gone(size: int) -> bytes:
    raise OSError("Connection reset by peer")
