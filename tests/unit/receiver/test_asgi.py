"""The ASGI skin: by a client, message by message, and mounted in FastAPI and Starlette."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import fastapi
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from celery_mailproxy.deliveries.report import DeliveryReport
from celery_mailproxy.receiver import asgi
from celery_mailproxy.receiver.receiver import ReportReceiver

from .kept import Kept

HEADERS = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
BODY = json.dumps({"delivery_report": [{"id": "m1", "sent_ts": 1795324468}]}).encode()


def request(app: Any, method: str = "POST", path: str = "/mail-proxy/sync", **options: Any) -> httpx.Response:
    async def main() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            options.setdefault("headers", HEADERS)
            return await client.request(method, path, **options)

    return asyncio.run(main())


def converse(app: Any, scope: dict[str, Any], *incoming: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends when it is sent these messages, and no more."""
    messages, sent = list(incoming), []

    async def receive() -> dict[str, Any]:
        assert messages, "the application waited for more than there was"
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def scope(**changes: Any) -> dict[str, Any]:
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    return {"type": "http", "method": "POST", "path": "/mail-proxy/sync", "headers": headers, **changes}


def test_reports_are_accepted_in_a_thread(receiver: ReportReceiver, kept: Kept) -> None:
    response = request(asgi.create_app(receiver=receiver), content=BODY)
    assert (response.status_code, response.json()["accepted"]) == (200, 1)
    assert [report.message_id for report in kept] == ["m1"]
    assert threading.get_ident() not in kept.threads


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"path": "/elsewhere"}, 404),
        ({"method": "GET"}, 405),
        ({"headers": {}}, 401),
        ({"headers": {**HEADERS, "Authorization": "Bearer wrong"}}, 401),
        ({"content": b" " * 10_001}, 413),
        ({"headers": {**HEADERS, "Content-Type": "text/plain"}}, 415),
        ({"content": b"{"}, 400),
        ({"path": "/health", "method": "GET", "headers": {}}, 200),
        ({"path": "/health", "method": "HEAD", "headers": {}}, 200),
    ],
)
def test_each_status(receiver: ReportReceiver, changes: dict[str, Any], status: int) -> None:
    response = request(asgi.create_app(receiver=receiver), **{"content": BODY, **changes})
    assert response.status_code == status
    if status == 401:
        assert len(response.headers.get_list("WWW-Authenticate")) == 2


def test_without_accept_nothing_is_acknowledged(receiver: ReportReceiver) -> None:
    def refuse(reports: Sequence[DeliveryReport]) -> None:
        raise OSError("no broker")

    response = request(asgi.create_app(receiver=receiver, accept=refuse), content=BODY)
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)


@pytest.mark.parametrize(("size", "status"), [(0, 200), (50_000, 413)])
def test_chunked_body_is_counted_while_it_is_read(receiver: ReportReceiver, size: int, status: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield BODY[:10]
        yield BODY[10:] + b" " * size

    assert request(asgi.create_app(receiver=receiver), content=chunks()).status_code == status


def test_body_without_end_is_not_read_further_than_needed(receiver: ReportReceiver) -> None:
    piece = {"type": "http.request", "body": b" " * 6000, "more_body": True}
    sent = converse(asgi.create_app(receiver=receiver), scope(), piece, piece)
    assert sent[0]["status"] == 413


def test_refused_body_is_not_read(receiver: ReportReceiver) -> None:
    sent = converse(asgi.create_app(receiver=receiver), scope(headers=[]))
    assert sent[0]["status"] == 401


def test_client_that_goes_away_gets_no_answer(receiver: ReportReceiver, kept: Kept) -> None:
    piece = {"type": "http.request", "body": BODY, "more_body": True}
    assert converse(asgi.create_app(receiver=receiver), scope(), piece, {"type": "http.disconnect"}) == []
    assert kept == []


def test_header_that_comes_twice_is_no_token(receiver: ReportReceiver) -> None:
    headers = [(b"authorization", b"Bearer secret"), (b"authorization", b"Bearer wrong")]
    assert converse(asgi.create_app(receiver=receiver), scope(headers=headers))[0]["status"] == 401


def test_lifespan_starts_and_ends(receiver: ReportReceiver) -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = converse(asgi.create_app(receiver=receiver), {"type": "lifespan"}, *incoming)
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


def test_websocket_is_closed(receiver: ReportReceiver) -> None:
    sent = converse(asgi.create_app(receiver=receiver), {"type": "websocket"}, {"type": "websocket.connect"})
    assert sent == [{"type": "websocket.close", "code": 1000}]


def test_unknown_scope_is_an_error(receiver: ReportReceiver) -> None:
    with pytest.raises(ValueError, match="'smtp'"):
        converse(asgi.create_app(receiver=receiver), {"type": "smtp"})


@pytest.mark.parametrize(
    ("root_path", "path"),
    [
        ("", "/mail-proxy/sync"),
        ("/mail-proxy", "/mail-proxy/sync"),
        ("/mail-proxy", "/sync"),
        ("/api", "/api/mail-proxy/sync"),
        ("/api/", "/mail-proxy/sync"),
    ],
)
def test_mount_is_understood_with_and_without_its_prefix_in_the_path(
    receiver: ReportReceiver, root_path: str, path: str
) -> None:
    body = {"type": "http.request", "body": BODY}
    sent = converse(asgi.create_app(receiver=receiver), scope(root_path=root_path, path=path), body)
    assert sent[0]["status"] == 200


def fastapi_site(mount: str, app: Any) -> Any:
    site = fastapi.FastAPI()
    site.add_api_route("/home", lambda: "home")
    site.mount(mount, app)
    return site


def starlette_site(mount: str, app: Any) -> Any:
    return Starlette(routes=[Mount(mount, app=app)])


@pytest.mark.parametrize("make_site", [fastapi_site, starlette_site])
@pytest.mark.parametrize(
    ("mount", "report_path", "health_path"),
    [
        ("/", "/mail-proxy/sync", "/health"),
        ("/mail-proxy", "/mail-proxy/sync", "/mail-proxy/health"),
        ("/api", "/api/mail-proxy/sync", "/api/health"),
    ],
)
def test_it_can_be_mounted(
    receiver: ReportReceiver, make_site: Any, mount: str, report_path: str, health_path: str
) -> None:
    site = make_site(mount, asgi.create_app(receiver=receiver))
    for path in (report_path, f"{report_path}/"):
        assert request(site, path=path, content=BODY).status_code == 200
    assert request(site, "GET", health_path, headers={}).json() == {"status": "ok"}
    if make_site is fastapi_site:
        assert request(site, "GET", "/home").json() == "home"
