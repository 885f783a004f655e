"""`ReportServer` by itself, on real sockets; and the ASGI application under uvicorn."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from celery_mailproxy.deliveries.report import DeliveryReport
from celery_mailproxy.errors import ConfigurationError
from celery_mailproxy.receiver import asgi
from celery_mailproxy.receiver.receiver import ReportReceiver
from celery_mailproxy.receiver.server import ReportServer
from celery_mailproxy.testing.ports import free_port
from tests.harness.report_request import HEADERS, body, refuses_connections
from tests.harness.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def kept() -> list[DeliveryReport]:
    return []


@pytest.fixture
def receiver(kept: list[DeliveryReport]) -> ReportReceiver:
    return ReportReceiver(accept=kept.extend, tokens={None: ("secret",)}, max_report_bytes=200_000)


@contextmanager
def serving(receiver: ReportReceiver, host: str = "127.0.0.1") -> Iterator[ReportServer]:
    server = ReportServer(receiver, host=host, port=0)
    server.start()
    try:
        yield server
    finally:
        server.stop(drain_seconds=5)


def exchange(url: str, *pieces: bytes) -> bytes:
    """What the server answers to these bytes, until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as client:
        for piece in pieces:
            client.sendall(piece)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


def head(*, token: str = "wrong", **headers: Any) -> bytes:
    lines = ["POST /mail-proxy/sync HTTP/1.1", "Host: test", f"Authorization: Bearer {token}"]
    lines += [
        "Content-Type: application/json",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_large_body_without_a_token_is_refused_before_it_is_sent(receiver: ReportReceiver) -> None:
    with serving(receiver) as server:
        for expect in ({}, {"Expect": "100-continue"}):
            answer = exchange(server.urls[0], head(Content_Length=150_000, **expect))
            assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
            assert answer.lower().count(b"www-authenticate") == 2
            assert answer.count(b"Content-Length") == 1
    assert receiver.counts.responses == {("reports", 401): 2}


def test_small_body_without_a_token_leaves_the_connection_usable(receiver: ReportReceiver) -> None:
    with serving(receiver) as server:
        client = http.client.HTTPConnection(server.urls[0].removeprefix("http://"))
        for token, status in (("wrong", 401), ("secret", 200)):
            client.request("POST", "/mail-proxy/sync", body("m1"), {**HEADERS, "Authorization": f"Bearer {token}"})
            response = client.getresponse()
            response.read()
            assert response.status == status
        client.close()


@pytest.mark.parametrize("token", ["secret", "wrong"])
def test_too_large_is_413_with_json_and_tells_strangers_nothing(receiver: ReportReceiver, token: str) -> None:
    status = b"413" if token == "secret" else b"401"
    with serving(receiver) as server:
        declared = exchange(server.urls[0], head(token=token, Content_Length=200_001))
        chunk = b"%x\r\n%s\r\n" % (50_000, b" " * 50_000)
        chunked = exchange(server.urls[0], head(token=token, Transfer_Encoding="chunked"), *[chunk] * 5)
    for answer in (declared, chunked):
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b'"ok": false' in answer


def test_largest_body_is_taken_also_in_chunks(receiver: ReportReceiver, kept: list[DeliveryReport]) -> None:
    largest = body("m1").encode().ljust(200_000)
    with serving(receiver) as server:
        for content in (largest, iter([largest[:100_000], largest[100_000:]])):
            response = httpx.post(f"{server.urls[0]}/mail-proxy/sync", content=content, headers=HEADERS)
            assert response.status_code == 200
    assert len(kept) == 2


def test_stop_closes_idle_connections_at_once(receiver: ReportReceiver) -> None:
    with serving(receiver) as server, httpx.Client() as client:
        client.get(f"{server.urls[0]}/health")
        # If it waited for them, it would do so until the test is given up.
        server.stop(drain_seconds=3600)


def test_stop_gives_up_requests_that_take_too_long(receiver: ReportReceiver) -> None:
    began, gate = threading.Event(), threading.Event()

    def accept(reports: Sequence[DeliveryReport]) -> None:
        began.set()
        gate.wait(PATIENCE_SECONDS)

    receiver = ReportReceiver(accept=accept, tokens={None: ("secret",)})
    with serving(receiver) as server:
        url = f"{server.urls[0]}/mail-proxy/sync"
        with ThreadPoolExecutor(1) as executor:
            answer = executor.submit(
                lambda: httpx.post(url, content=body("m1"), headers=HEADERS, timeout=PATIENCE_SECONDS)
            )
            assert began.wait(PATIENCE_SECONDS)
            server.stop(drain_seconds=0.2)
            assert isinstance(answer.exception(timeout=PATIENCE_SECONDS), httpx.TransportError)
            gate.set()


def test_host_name_is_served_on_each_of_its_addresses(receiver: ReportReceiver) -> None:
    with serving(receiver, host="localhost") as server:
        assert len({url.rpartition(":")[2] for url in server.urls}) == 1
        for url in server.urls:
            assert httpx.get(f"{url}/health").status_code == 200


def test_unknown_host_is_named(receiver: ReportReceiver) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on host\.invalid:9100"):
        ReportServer(receiver, host="host.invalid", port=9100)


def test_server_that_was_never_started_can_be_stopped(receiver: ReportReceiver) -> None:
    server = ReportServer(receiver, host="127.0.0.1", port=0)
    url = server.urls[0]
    server.stop()
    assert refuses_connections(url)


# Another server


def test_uvicorn_serves_the_asgi_application(receiver: ReportReceiver, kept: list[DeliveryReport]) -> None:
    port = free_port()
    config = uvicorn.Config(asgi.create_app(receiver=receiver), port=port, lifespan="on", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "uvicorn")
        url = f"http://127.0.0.1:{port}"
        assert httpx.head(f"{url}/health").status_code == 200
        assert httpx.post(f"{url}/mail-proxy/sync/", content=body("m1"), headers=HEADERS).status_code == 200
        large = httpx.post(f"{url}/mail-proxy/sync", content=iter([b" " * 150_000] * 2), headers=HEADERS)
        assert large.status_code == 413
        assert exchange(url, head(Content_Length=150_000)).startswith(b"HTTP/1.1 401")
    finally:
        server.should_exit = True
        thread.join()
    assert [report.message_id for report in kept] == ["m1"]
