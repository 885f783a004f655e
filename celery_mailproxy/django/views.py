"""The receiver as Django views: a thin skin on `ReportReceiver`, under sync and async servers alike.

They are plain functions: the receiver waits for a broker, and Django's async handler gives each such view a thread.
That handler has spooled the body to a file before any view runs; elsewhere no more of it is read than is wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from ..errors import ConfigurationError
from ..receiver.default import receiver_of
from ..receiver.http import error_response
from ..receiver.receiver import ReportReceiver, Request, Response
from ..runtime import get_runtime

View = TypeVar("View", bound=Callable[..., HttpResponse])

try:
    from django.contrib.auth.decorators import login_not_required
except ImportError:  # Django before 5.1, which has no LoginRequiredMiddleware either

    def login_not_required(view_func: View) -> View:  # type: ignore[misc]
        return view_func


__all__ = ["attachments", "sync"]

logger = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024


def _for_the_proxy(view: View) -> View:
    """The view for a caller who has a token, and neither cookies nor a session; in no transaction of the request's."""
    for alias in connections:
        # A report is dispatched only once its record is committed, whatever ATOMIC_REQUESTS says.
        view = transaction.non_atomic_requests(using=alias)(view)
    return csrf_exempt(login_not_required(view))


@_for_the_proxy
def sync(request: HttpRequest) -> HttpResponse:
    """Take delivery reports: 200 once every one is safely kept, else 503, and the proxy keeps them all."""
    return _answer(request, lambda receiver: receiver.report_path)


@_for_the_proxy
def attachments(request: HttpRequest) -> HttpResponse:
    """Give the proxy the content of an attachment."""
    return _answer(request, lambda receiver: receiver.attachments_path)


def _answer(request: HttpRequest, path_of: Callable[[ReportReceiver], str]) -> HttpResponse:
    try:
        receiver = receiver_of(get_runtime())
    except ConfigurationError as exc:
        logger.error("delivery reports cannot be received: %s", exc)
        detail = "the receiver's settings are wrong; see its log, or run 'manage.py check --tag mail_proxy'."
        return _django_response(error_response(503, "misconfigured", detail))
    # Where it is mounted is the project's business: the view that was found says what is asked for.
    admitted = receiver.admit(_head(request, path_of(receiver)))
    if isinstance(admitted, Response):
        return _django_response(admitted)
    return _django_response(receiver.answer(admitted, _read_body(request, limit=admitted.body_limit)))


def _head(request: HttpRequest, path: str) -> Request:
    # A server may give an empty Content-Length where there was none.
    headers = {name.lower(): value for name, value in request.headers.items() if value}
    return Request(method=request.method or "", path=path, headers=headers, client=request.META.get("REMOTE_ADDR"))


def _read_body(request: HttpRequest, *, limit: int) -> bytes:
    """The body, or its beginning where it is longer than `limit`, or ended early.

    Not by `request.body`: that would hold it to DATA_UPLOAD_MAX_MEMORY_SIZE, which is meant for forms.
    """
    body = bytearray()
    try:
        while len(body) <= limit and (piece := request.read(min(limit + 1 - len(body), _READ_BYTES))):
            body += piece
    except UnreadablePostError:
        logger.warning("the proxy went away while it sent its delivery reports")
    return bytes(body)


def _django_response(response: Response) -> HttpResponse:
    answer = HttpResponse(response.body, status=response.status)
    for name, value in response.headers:
        # RFC 9110, 5.3: what comes twice may be written as a list.
        answer[name] = f"{answer[name]}, {value}" if name == "WWW-Authenticate" and name in answer else value
    if response.status >= 500:
        # We log it. Django would mail it to ADMINS: through the broker that is down, and at each retry of the proxy.
        answer._has_been_logged = True  # type: ignore[attr-defined]
    return answer
