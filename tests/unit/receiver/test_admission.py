"""Whichever face a request comes through: its route is resolved once, and its caller is authenticated once."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from celery_mailproxy.receiver import admission, asgi, wsgi
from celery_mailproxy.receiver.authenticator import Authenticator
from celery_mailproxy.receiver.receiver import ReportReceiver, Request
from celery_mailproxy.receiver.server import ReportServer

ENTRY = {"id": "m1", "sent_ts": 1795324468}
HEADERS = {"authorization": "Bearer secret", "content-type": "application/json"}
PATH = "/mail-proxy/sync"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a credential was compared, and a path looked up."""
    counted: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted_call(*args: Any) -> Any:
            counted[name] += 1
            return function(*args)

        return counted_call

    monkeypatch.setattr(Authenticator, "authenticate", counting("authenticated", Authenticator.authenticate))
    monkeypatch.setattr(admission.Admitter, "_route", counting("routed", admission.Admitter._route))
    return counted


@pytest.fixture
def receiver() -> ReportReceiver:
    return ReportReceiver(accept=lambda reports: None, tokens={None: ("secret",)})


def through_the_receiver(receiver: ReportReceiver, body: bytes) -> int:
    return receiver.handle(Request(method="POST", path=PATH, headers=HEADERS, body=body)).status


def through_asgi(receiver: ReportReceiver, body: bytes) -> int:
    transport = httpx.ASGITransport(asgi.create_app(receiver=receiver))

    async def post() -> int:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return (await client.post(PATH, content=body, headers=HEADERS)).status_code

    return asyncio.run(post())


def through_wsgi(receiver: ReportReceiver, body: bytes) -> int:
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": PATH,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": "Bearer secret",
        "wsgi.input": io.BytesIO(body),
    }
    wsgi.create_app(receiver=receiver)(environ, lambda status, headers: statuses.append(status))
    return int(statuses[0].split()[0])


def through_the_listener(receiver: ReportReceiver, body: bytes) -> int:
    server = ReportServer(receiver, host="127.0.0.1", port=0)
    server.start()
    try:
        return httpx.post(server.urls[0] + PATH, content=body, headers=HEADERS, trust_env=False).status_code
    finally:
        server.stop()


FACES = [through_the_receiver, through_asgi, through_wsgi, through_the_listener]


SMALL = json.dumps({"delivery_report": [ENTRY]}).encode()
#: The listener judges a body of more than 64 KiB before it has all of it.
LARGE = SMALL + b" " * 200_000


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("face", FACES)
def test_a_post_of_reports_is_routed_and_authenticated_once(
    face: Callable[[ReportReceiver, bytes], int], body: bytes, receiver: ReportReceiver, calls: Counter[str]
) -> None:
    assert face(receiver, body) == 200
    assert calls == {"routed": 1, "authenticated": 1}
    assert receiver.counts.responses == {("reports", 200): 1}


@pytest.mark.parametrize("face", FACES)
def test_a_refused_post_is_counted_once(face: Callable[[ReportReceiver, bytes], int], calls: Counter[str]) -> None:
    receiver = ReportReceiver(accept=lambda reports: None, tokens={None: ("another",)})
    assert face(receiver, LARGE) == 401
    assert calls == {"routed": 1, "authenticated": 1}
    assert receiver.counts.responses == {("reports", 401): 1}
