"""The WSGI skin: by a client, checked by `wsgiref.validate`, and mounted in Flask."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import flask
import httpx
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from celery_mailproxy.deliveries.report import DeliveryReport
from celery_mailproxy.receiver import wsgi
from celery_mailproxy.receiver.receiver import ReportReceiver

from .kept import Kept

AUTHORIZATION = {"Authorization": "Bearer secret"}
BODY = json.dumps({"delivery_report": [{"id": "m1", "sent_ts": 1795324468}]}).encode()


@pytest.fixture
def app(receiver: ReportReceiver) -> Any:
    return validator(wsgi.create_app(receiver=receiver))


def call(app: Any, body: bytes = BODY, **environ: Any) -> tuple[str, dict[str, str], bytes]:
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/mail-proxy/sync",
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_AUTHORIZATION": "Bearer secret",
        "wsgi.input": io.BytesIO(body),
        **environ,
    }
    setup_testing_defaults(environ)
    started: list[Any] = []
    result = app(
        {key: value for key, value in environ.items() if value is not None}, lambda *args: started.extend(args)
    )
    try:
        answer = b"".join(result)
    finally:
        result.close()
    return started[0], dict(started[1]), answer


def test_reports_are_accepted(app: Any, kept: Kept) -> None:
    status, headers, body = call(app)
    assert (status, json.loads(body)["accepted"]) == ("200 OK", 1)
    assert headers["Content-Length"] == str(len(body))
    assert [report.message_id for report in kept] == ["m1"]


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"PATH_INFO": "/elsewhere"}, "404 Not Found"),
        ({"REQUEST_METHOD": "GET"}, "405 Method Not Allowed"),
        ({"HTTP_AUTHORIZATION": "Bearer wrong"}, "401 Unauthorized"),
        ({"HTTP_AUTHORIZATION": None}, "401 Unauthorized"),
        ({"CONTENT_LENGTH": "10001"}, "413 Request Entity Too Large"),
        ({"CONTENT_TYPE": "text/plain"}, "415 Unsupported Media Type"),
        ({"PATH_INFO": "/health", "REQUEST_METHOD": "GET"}, "200 OK"),
        ({"PATH_INFO": "/health", "REQUEST_METHOD": "HEAD"}, "200 OK"),
    ],
)
def test_each_status(app: Any, environ: dict[str, Any], status: str) -> None:
    answered, _, _ = call(app, **environ)
    assert answered.split()[0] == status.split()[0]


def test_without_accept_nothing_is_acknowledged(receiver: ReportReceiver) -> None:
    def refuse(reports: Sequence[DeliveryReport]) -> None:
        raise OSError("no broker")

    status, headers, _ = call(validator(wsgi.create_app(receiver=receiver, accept=refuse)))
    assert status == "503 Service Unavailable"
    assert "Retry-After" in headers


def test_refused_body_is_not_read(app: Any) -> None:
    class Unread(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError("the body was read")

    environ: dict[str, Any] = {"HTTP_AUTHORIZATION": "Bearer wrong", "wsgi.input": Unread(BODY)}
    assert call(app, **environ)[0].startswith("401")


@pytest.mark.parametrize("length", ["-5", "five"])
def test_bad_content_length_is_400(receiver: ReportReceiver, length: str) -> None:
    # The validator itself does not stand such a length.
    app = wsgi.create_app(receiver=receiver)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/mail-proxy/sync",
        "CONTENT_LENGTH": length,
        "HTTP_AUTHORIZATION": "Bearer secret",
    }
    setup_testing_defaults(environ)
    started: list[Any] = []
    list(app(environ, lambda *args: started.extend(args)))
    assert started[0].startswith("400")


@pytest.mark.parametrize(("size", "status"), [(0, "200"), (20_000, "413")])
def test_chunked_body_is_counted_while_it_is_read(app: Any, size: int, status: str) -> None:
    environ = {"CONTENT_LENGTH": None, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    assert call(app, BODY + b" " * size, **environ)[0].startswith(status)


def test_body_without_length_is_not_waited_for(app: Any) -> None:
    assert call(app, CONTENT_LENGTH=None)[0].startswith("400")


def test_body_that_ends_early_is_400(app: Any, kept: Kept) -> None:
    assert call(app, CONTENT_LENGTH="900")[0].startswith("400")
    assert kept == []


def test_overrides_change_the_receiver(receiver: ReportReceiver) -> None:
    app = validator(wsgi.create_app(receiver=receiver, report_path="/hook"))
    assert call(app, PATH_INFO="/hook")[0] == "200 OK"
    with pytest.raises(TypeError, match="no_such_option"):
        wsgi.create_app(receiver=receiver, no_such_option=1)


@pytest.fixture(params=["/mail-proxy", "/api"])
def flask_client(request: pytest.FixtureRequest, receiver: ReportReceiver) -> Iterator[tuple[httpx.Client, str]]:
    site = flask.Flask("site")
    site.add_url_rule("/", view_func=lambda: "home")
    site.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        site.wsgi_app, {request.param: wsgi.create_app(receiver=receiver)}
    )
    prefix = "" if request.param == "/mail-proxy" else request.param
    with httpx.Client(transport=httpx.WSGITransport(app=site), base_url="http://test") as client:
        yield client, prefix


def test_it_can_be_mounted_in_flask(flask_client: tuple[httpx.Client, str], kept: Kept) -> None:
    client, prefix = flask_client
    assert client.get("/").text == "home"
    headers = {**AUTHORIZATION, "Content-Type": "application/json"}
    answer = client.post(f"{prefix}/mail-proxy/sync", content=BODY, headers=headers)
    assert (answer.status_code, len(kept)) == (200, 1)
    health = "/api/health" if prefix else "/mail-proxy/health"
    assert client.get(health).json() == {"status": "ok"}


def test_accept_is_called_with_other_options_kept(receiver: ReportReceiver) -> None:
    other = replace(receiver, max_report_bytes=10)
    assert call(validator(wsgi.create_app(receiver=other)))[0].startswith("413")
