"""Free TCP ports for servers that tests start."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

# Below the range from which systems take the local ports of outgoing connections (32768 on Linux): a server that is
# killed and started again on its port must not find it taken by somebody's connection.
_FIRST, _LAST = 20000, 32000

#: The ports that this process has been given: who asked for one may not listen on it yet.
_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port on which nothing listens just now, and another one at each call.

    Chosen at random, so that processes that ask at the same time hardly ever get the same one.

    Raises:
        OSError: 100 ports in a row were taken.
    """
    for _ in range(100):
        port = random.randint(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise OSError(f"no free TCP port found on {host} between {_FIRST} and {_LAST}")
