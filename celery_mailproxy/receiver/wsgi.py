"""The receiver as a WSGI application: `gunicorn "celery_mailproxy.receiver.wsgi:create_app()"`.

    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/mail-proxy": create_app(celery_app)})    # Flask

answers at `/mail-proxy/sync`, as does an application mounted at the root. A prefix that is not part of the configured
paths comes before them: mounted at `/api` the reports go to `/api/mail-proxy/sync`. `/health` lies below the mount.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from celery import Celery

from .default import served_receiver
from .receiver import ReportReceiver, Request, Response

__all__ = ["ADMISSION_KEY", "create_app", "request_head"]

Environ = dict[str, Any]
WSGIApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_READ_BYTES = 64 * 1024

#: Where a server that has asked for a request's admission already (ours) keeps the answer in its WSGI environment.
ADMISSION_KEY = "celery_mailproxy.admission"


def create_app(app: Celery | None = None, *, receiver: ReportReceiver | None = None, **overrides: Any) -> WSGIApp:
    """A WSGI application that answers the proxy for a Celery app (by default the current one).

    `overrides` are options of `ReportReceiver` that differ from the app's settings, for example `report_path="/sync"`.
    `receiver` replaces the app's own. Raises `ConfigurationError`, so that a server with wrong settings does not start.
    """
    served = served_receiver(app, receiver, overrides)

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        admitted = environ.get(ADMISSION_KEY) or served.admit(request_head(environ))
        if isinstance(admitted, Response):
            response = admitted
        else:
            response = served.answer(admitted, _read_body(environ, limit=admitted.body_limit))
        start_response(f"{response.status} {HTTPStatus(response.status).phrase}", list(response.headers))
        return [response.body]

    return application


def request_head(environ: Environ) -> Request:
    """What a WSGI environment says about a request, without its body."""
    headers = {
        key.removeprefix("HTTP_").replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_") or (key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    }
    # WSGI hands paths over as Latin-1, and they are UTF-8.
    path, mount = (
        environ.get(key, "").encode("latin-1").decode("utf-8", "replace") for key in ("PATH_INFO", "SCRIPT_NAME")
    )
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path or "/",
        mount=mount.rstrip("/"),
        headers=headers,
        client=environ.get("REMOTE_ADDR"),
    )


def _read_body(environ: Environ, *, limit: int) -> bytes:
    """The body, or its beginning where it is longer than `limit`, or ended early."""
    length = environ.get("CONTENT_LENGTH")
    if not length and not environ.get("wsgi.input_terminated"):
        # Without a length only a server that says so ends the stream itself; elsewhere a read would hang.
        return b""
    wanted = min(int(length), limit + 1) if length else limit + 1
    body = bytearray()
    while len(body) < wanted:
        piece = environ["wsgi.input"].read(min(wanted - len(body), _READ_BYTES))
        if not piece:
            break
        body += piece
    return bytes(body)
