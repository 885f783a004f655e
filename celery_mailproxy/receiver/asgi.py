"""The receiver as an ASGI application: `uvicorn --factory celery_mailproxy.receiver.asgi:create_app`.

    app.mount("/", create_app(celery_app))              # FastAPI, Starlette: last, after your own routes
    app.mount("/mail-proxy", create_app(celery_app))    # the same addresses, nothing else taken

Both answer at `/mail-proxy/sync`. A prefix that is not part of the configured paths comes before them: mounted at
`/api` the reports go to `/api/mail-proxy/sync`. `/health` lies below the mount.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from celery import Celery

from .default import served_receiver
from .receiver import ReportReceiver, Request, Response

__all__ = ["create_app"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def create_app(app: Celery | None = None, *, receiver: ReportReceiver | None = None, **overrides: Any) -> ASGIApp:
    """An ASGI 3 application that answers the proxy for a Celery app (by default the current one).

    `overrides` are options of `ReportReceiver` that differ from the app's settings, for example `report_path="/sync"`.
    `receiver` replaces the app's own. Raises `ConfigurationError`, so that a server with wrong settings does not start.
    """
    served = served_receiver(app, receiver, overrides)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _serve_http(served, scope, receive, send)
        elif scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"the scope's type must be http, lifespan or websocket, got {scope['type']!r}")

    return application


async def _serve_http(receiver: ReportReceiver, scope: Scope, receive: Receive, send: Send) -> None:
    admitted = receiver.admit(_head(scope))
    if isinstance(admitted, Response):
        await _send(admitted, send)
        return
    body = await _read_body(receive, limit=admitted.body_limit)
    if body is not None:
        # In a thread: the receiver waits for a broker, and the event loop has others to serve.
        await _send(await asyncio.to_thread(receiver.answer, admitted, body), send)


async def _read_body(receive: Receive, *, limit: int) -> bytes | None:
    """The body, or its beginning where it is longer than `limit`; None when the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False) or len(body) > limit:
            return bytes(body)


async def _send(response: Response, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _head(scope: Scope) -> Request:
    path, mount = scope["path"], scope.get("root_path", "").rstrip("/")
    # ASGI has the mount's prefix in the path; Starlette before 0.33 and some servers leave it out.
    if path == mount or path.startswith(f"{mount}/"):
        path = path[len(mount) :]
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # A header that comes twice is joined: a second Content-Length or Authorization then fits nothing.
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    client = scope.get("client")
    return Request(
        method=scope["method"], path=path or "/", mount=mount, headers=headers, client=client[0] if client else None
    )
