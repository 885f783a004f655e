"""Ports for servers that tests start."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from celery_mailproxy.testing import ports


def test_a_process_is_never_given_a_port_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_LAST", ports._FIRST + 30)
    monkeypatch.setattr(ports, "_given", set())
    given = [ports.free_port() for _ in range(5)]
    assert len(given) == len(set(given))


def test_a_port_on_which_somebody_listens_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        monkeypatch.setattr(ports, "_FIRST", port)
        monkeypatch.setattr(ports, "_LAST", port)
        with pytest.raises(OSError, match="no free TCP port"):
            ports.free_port()


def test_no_other_process_is_given_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    port = ports.free_port()
    code = (
        "from celery_mailproxy.testing import ports\n"
        f"ports._FIRST = ports._LAST = {port}\n"
        "try:\n    print(ports.free_port())\nexcept OSError:\n    print('none')\n"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "none"
