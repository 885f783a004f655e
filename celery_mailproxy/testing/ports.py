"""Free TCP ports for servers that tests start."""

from __future__ import annotations

import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["free_port"]

# Below the range from which systems take the local ports of outgoing connections (32768 on Linux): a server that is
# killed and started again on its port must not find it taken by somebody's connection.
_FIRST, _LAST = 20000, 32000

#: The ports that this process has been given: who asked for one may not listen on it yet.
_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port on which nothing listens just now, and another one at each call.

    As long as this process lives, no other process that asks here is given it: tests start many servers at once.

    Raises:
        OSError: 100 ports in a row were taken.
    """
    for _ in range(100):
        # No secret.
        port = random.randint(_FIRST, _LAST)  # nosec B311
        if port in _given or not _is_reserved(port):
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise OSError(f"no free TCP port found on {host} between {_FIRST} and {_LAST}")


def _is_reserved(port: int) -> bool:
    """Reserve the port among processes, by a lock on one byte of a file, which ends with the process."""
    if fcntl is None or (file := _reservations(os.getpid())) is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _reservations(pid: int) -> int | None:
    """The file, open for as long as the process lives: closing it would end its locks. None where there can be none."""
    try:
        return os.open(Path(tempfile.gettempdir(), "celery-mailproxy-ports.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
