"""Who has no token, and comes in great number, slowly or with much: a report with one is answered all the same."""

from __future__ import annotations

import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from waitress.channel import ClientDisconnected

from celery_mailproxy.deliveries.report import DeliveryReport
from celery_mailproxy.receiver import connections as connections_module
from celery_mailproxy.receiver.channel import Channel
from celery_mailproxy.receiver.receiver import ReportReceiver
from celery_mailproxy.receiver.server import ReportServer
from tests.harness.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.integration

REPORT = b'{"delivery_report": [{"id": "m1", "sent_ts": 1795324468}]}'
HEADERS = {"Authorization": "Bearer secret", "Content-Type": "application/json"}

#: No stranger's time is up in such a test.
FOREVER = 1e9


@pytest.fixture(scope="module", autouse=True)
def files() -> Iterator[None]:
    """Enough of them for both ends of some thousand connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert before[1] == resource.RLIM_INFINITY or before[1] >= 4096, "these tests need ulimit -Hn of 4096"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def kept() -> list[DeliveryReport]:
    return []


@pytest.fixture
def server(kept: list[DeliveryReport]) -> Iterator[ReportServer]:
    receiver = ReportReceiver(accept=kept.extend, tokens={None: ("secret",)}, max_report_bytes=2_000_000)
    server = ReportServer(receiver, host="127.0.0.1", port=0)
    server.start()
    try:
        yield server
    finally:
        server.stop(drain_seconds=5)


def connected(server: ReportServer) -> socket.socket:
    host, port = server.urls[0].removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)


@contextmanager
def strangers(server: ReportServer, number: int, first_words: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections, on each of which as much has been sent."""
    with ExitStack() as stack:
        clients = []
        for _ in range(number):
            clients.append(stack.enter_context(connected(server)))
            clients[-1].sendall(first_words)
        yield clients


def closed_among(clients: list[socket.socket]) -> int:
    """How many of the connections the server has closed."""
    poll = select.poll()
    for client in clients:
        poll.register(client, select.POLLIN)
    return len(poll.poll(0))


def open_channels(server: ReportServer) -> list[Channel]:
    return [channel for each in server._servers for channel in list(each.active_channels.values())]


def is_answered(server: ReportServer) -> bool:
    response = httpx.post(
        f"{server.urls[0]}/mail-proxy/sync", content=REPORT, headers=HEADERS, timeout=PATIENCE_SECONDS, trust_env=False
    )
    return response.status_code == 200


def head(*, token: str | None = None, **headers: object) -> bytes:
    lines = ["POST /mail-proxy/sync HTTP/1.1", "Host: test", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer_to(client: socket.socket) -> bytes:
    """What the server says on a connection until it closes it."""
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    return answer


# In great number


def test_a_report_is_answered_while_a_thousand_idle_strangers_stay(
    server: ReportServer, kept: list[DeliveryReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "STRANGER_SECONDS", FOREVER)
    with strangers(server, 1000) as clients:
        wait_until(lambda: len(server._connections) == 1000, "all of them are accepted")
        assert is_answered(server)
        # None had to make way for it, and none was waited for.
        assert closed_among(clients) == 0
    assert [report.message_id for report in kept] == ["m1"]


def test_a_report_is_answered_while_a_thousand_strangers_have_begun_a_request(
    server: ReportServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "STRANGER_SECONDS", FOREVER)
    with strangers(server, 1000, head(Content_Length=10_000)[:-1]) as clients:
        assert is_answered(server)
        assert closed_among(clients) == 0


def test_the_strangers_that_came_first_make_way(server: ReportServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "STRANGER_SECONDS", FOREVER)
    server._connections.limit = 50
    with strangers(server, 200) as clients:
        wait_until(lambda: closed_among(clients) == 150, "all but 50 are closed")
        assert closed_among(clients[:150]) == 150
        for _ in range(3):
            assert is_answered(server)
        assert len(open_channels(server)) <= 50


def test_a_connection_that_has_shown_a_token_stays(server: ReportServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "STRANGER_SECONDS", FOREVER)
    server._connections.limit = 20
    with httpx.Client(headers=HEADERS, timeout=PATIENCE_SECONDS, trust_env=False) as client:
        url = f"{server.urls[0]}/mail-proxy/sync"
        client.post(url, content=REPORT)
        (channel,) = open_channels(server)
        with strangers(server, 100):
            assert client.post(url, content=REPORT).status_code == 200
            assert channel in open_channels(server)


SERVE = """
import sys, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
from celery_mailproxy.receiver.receiver import ReportReceiver
from celery_mailproxy.receiver.server import ReportServer
server = ReportServer(ReportReceiver(accept=len, tokens={None: ("secret",)}), host="127.0.0.1", port=0)
server.start()
print(server.urls[0], flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.mark.parametrize("files", [36, 64, 256])
def test_a_process_that_may_open_few_files_answers_as_well(files: int) -> None:
    # With 36 there are fewer than the listener would take: `accept` fails for want of a file.
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(files)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        host, port = process.stdout.readline().strip().removeprefix("http://").split(":")
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS))
            for _ in range(3):
                response = httpx.post(
                    f"http://{host}:{port}/mail-proxy/sync",
                    content=REPORT,
                    headers=HEADERS,
                    timeout=PATIENCE_SECONDS,
                    trust_env=False,
                )
                assert response.status_code == 200
    finally:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


# Slowly


@pytest.mark.parametrize("begun", [b"", b"POST /mail-proxy/sync HTTP/1.1\r\nX-Slow: ", head(Content_Length=60_000)])
def test_a_stranger_that_sends_byte_by_byte_is_cut_off(
    server: ReportServer, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connections_module, "STRANGER_SECONDS", 0.5)
    with strangers(server, 20, begun) as clients:

        def is_over() -> bool:
            for client in clients:
                # Each byte shows that it is there; it does not give it more time.
                try:
                    client.send(b"x")
                except OSError:
                    continue
            return closed_among(clients) == 20

        wait_until(is_over, "all are closed")
        assert is_answered(server)


def test_of_a_strangers_body_nothing_is_kept(server: ReportServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "STRANGER_SECONDS", FOREVER)
    size = 60_000
    with strangers(server, 20, head(Content_Length=size) + b"x" * (size - 1)) as clients:
        wait_until(
            lambda: (
                [channel.request and channel.request.body_bytes_received for channel in open_channels(server)]
                == [size - 1] * 20
            ),
            "all but a byte has come",
        )
        assert [len(channel.request.body_rcv) for channel in open_channels(server)] == [0] * 20
        for client in clients:
            client.sendall(b"x")
            assert client.recv(12) == b"HTTP/1.1 401"


def test_a_slow_body_with_a_token_is_waited_for(
    server: ReportServer, kept: list[DeliveryReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections_module, "STRANGER_SECONDS", 0.5)
    with connected(server) as client, strangers(server, 1) as others:
        client.sendall(head(token="secret", Content_Length=len(REPORT), Connection="close") + REPORT[:1])
        # The strangers' time is up, and more.
        wait_until(lambda: closed_among(others) == 1, "a stranger is closed")
        for byte in REPORT[1:]:
            client.sendall(bytes([byte]))
        assert answer_to(client).startswith(b"HTTP/1.1 200")
    assert len(kept) == 1


def test_strangers_hold_up_no_shutdown(server: ReportServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "STRANGER_SECONDS", FOREVER)
    with strangers(server, 50, head(Content_Length=10_000)):
        wait_until(lambda: len(server._connections) == 50, "all are there")
        # If it waited for them, it would do so until the test is given up.
        server.stop(drain_seconds=3600)


def test_the_path_of_a_stranger_begins_no_line_of_the_log(
    server: ReportServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")

    def gone(*args: object) -> None:
        raise ClientDisconnected

    # As if it had hung up before the answer.
    monkeypatch.setattr(Channel, "write_soon", gone)
    with connected(server) as client:
        client.sendall(b"GET /health%0AERROR%20forged HTTP/1.1\r\n\r\n")
        assert answer_to(client) == b""
    assert "Client disconnected while serving /health\\nERROR forged" in caplog.text


# With much


def test_twenty_large_bodies_at_once_are_refused_unread(server: ReportServer) -> None:
    size = 1024 * 1024
    with strangers(server, 20, head(Content_Length=size)) as clients:
        for client in clients:
            # As far as the server takes it: it has answered already.
            client.setblocking(False)
            try:
                client.send(b"x" * size)
            except OSError:
                continue
        assert is_answered(server)
        for client in clients:
            client.settimeout(PATIENCE_SECONDS)
            assert client.recv(12) == b"HTTP/1.1 401"


def test_twenty_large_bodies_with_a_token_are_taken(server: ReportServer, kept: list[DeliveryReport]) -> None:
    large = REPORT.ljust(1024 * 1024)
    request = head(token="secret", Content_Length=len(large), Connection="close") + large
    with strangers(server, 20, request) as clients:
        for client in clients:
            assert answer_to(client).startswith(b"HTTP/1.1 200")
    assert len(kept) == 20


@pytest.mark.parametrize(("token", "status"), [(None, b"401"), ("wrong", b"401"), ("secret", b"413")])
@pytest.mark.parametrize("size", [2_000_001, 1024**3, 10**18])
def test_who_announces_much_is_not_asked_to_go_on(
    server: ReportServer, token: str | None, status: bytes, size: int
) -> None:
    with connected(server) as client:
        client.sendall(head(token=token, Content_Length=size, Expect="100-continue"))
        answer = answer_to(client)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"100 Continue" not in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_stranger_is_not_asked_to_go_on_with_little_either(server: ReportServer) -> None:
    with connected(server) as client:
        client.sendall(head(Content_Length=10, Expect="100-continue"))
        assert client.recv(12) == b"HTTP/1.1 401"


def test_with_a_token_it_is_asked_to_go_on(server: ReportServer, kept: list[DeliveryReport]) -> None:
    with connected(server) as client:
        client.sendall(head(token="secret", Content_Length=len(REPORT), Expect="100-continue", Connection="close"))
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(REPORT)
        assert answer_to(client).startswith(b"HTTP/1.1 200")
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        # waitress has not read a version then.
        (b"POST /mail-proxy/sync HTTP/1.1\r\nX-Long: " + b"x" * 20_000, b"431"),
        (head(Transfer_Encoding="chunked") + b"1;" + b"x" * 200_000, b"401"),
        (head(Transfer_Encoding="chunked") + b"1000\r\n" + b"x" * 0x1000 + b"\r\n" + b"zz\r\n", b"400"),
        (head(Content_Length="many", Expect="100-continue"), b"400"),
    ],
    ids=["head", "extension of a chunk", "chunk", "length"],
)
def test_a_stranger_that_sends_what_is_no_request_is_refused(
    server: ReportServer, request_: bytes, status: bytes
) -> None:
    with connected(server) as client:
        client.sendall(request_)
        assert client.recv(12)[9:] == status
