"""The wire before a server: it passes everything on, and can be cut, silenced and slowed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.harness.waiting import PATIENCE_SECONDS, wait_until
from tests.harness.wire import Wire


class Echo:
    """A server that sends back what it gets, until its client ends its side."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.ended = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            while data := client.recv(65536):
                client.sendall(data)
        self.ended += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def wire(echo: Echo) -> Iterator[Wire]:
    with Wire(echo.port) as wire:
        yield wire


def connected(wire: Wire) -> socket.socket:
    return socket.create_connection(("127.0.0.1", wire.port), timeout=PATIENCE_SECONDS)


def exchange(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    received = b""
    while len(received) < len(text):
        received += client.recv(65536) or pytest.fail("the connection has ended")
    return received


def has_ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_all_is_passed_on_both_ways(wire: Wire) -> None:
    text = bytes(range(256)) * 4096
    with connected(wire) as client:
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(client.makefile("rb").read(len(text))))
        reader.start()
        client.sendall(text)
        reader.join()
    assert received == [text]


def test_the_server_learns_that_its_client_has_gone(wire: Wire, echo: Echo) -> None:
    with connected(wire) as client:
        exchange(client, b"hello")
    wait_until(lambda: echo.ended == 1)


def test_a_cut_ends_the_connections_on_both_sides_and_new_ones_work(wire: Wire, echo: Echo) -> None:
    with connected(wire) as client, connected(wire) as other:
        exchange(client, b"hello")
        exchange(other, b"hello")
        assert wire.cut() == 2
        assert has_ended(client)
        assert has_ended(other)
    wait_until(lambda: echo.ended == 2)
    with connected(wire) as client:
        assert exchange(client, b"again") == b"again"


def test_a_cut_of_none_leaves_all(wire: Wire) -> None:
    with connected(wire) as client:
        exchange(client, b"hello")
        assert wire.cut(share=0.0) == 0
        assert exchange(client, b"still there") == b"still there"


def test_in_silence_nothing_passes_and_after_it_everything_does(wire: Wire) -> None:
    with connected(wire) as client:
        exchange(client, b"hello")
        with wire.silence():
            client.sendall(b"held back")
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(PATIENCE_SECONDS)
        assert client.recv(65536) == b"held back"


def test_what_is_slow_comes_late_and_whole(wire: Wire) -> None:
    with connected(wire) as client:
        exchange(client, b"hello")
        with wire.slowness(0.2):
            began = time.monotonic()
            assert exchange(client, b"slow") == b"slow"
            # Each way takes as long: a lower bound, which no busy machine breaks.
            assert time.monotonic() - began >= 0.4


def test_a_client_of_a_server_that_is_down_is_disconnected(wire: Wire, echo: Echo) -> None:
    echo.close()
    with connected(wire) as client:
        assert has_ended(client)
