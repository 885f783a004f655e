"""`bind_sockets`: the addresses of a server, taken before it is built."""

from __future__ import annotations

import errno
import os
import socket

from ..errors import ConfigurationError

__all__ = ["bind_sockets"]


def bind_sockets(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of the host. Raises `ConfigurationError` that names the port."""
    where = f"{host or '*'}:{port}"
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            if os.name == "posix":
                # Lets a restarted worker have its port back at once. (Elsewhere it would let two have the same one.)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # A free port is chosen once: the host's other addresses get the same one.
            free_port = sockets[0].getsockname()[1] if port == 0 and len(sockets) > 1 else port
            sock.bind((address, free_port))
            sock.listen()
    except OSError as exc:
        for sock in sockets:
            sock.close()
        if exc.errno == errno.EADDRINUSE:
            problem = f"port {port} is in use already. Stop what listens there, or choose another port."
        else:
            problem = f"{exc.strerror or exc}."
        raise ConfigurationError(f"the mailproxy listener cannot listen on {where}: {problem}") from exc
    return sockets


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    # No host is what the operator has asked for.
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # noqa: S104  # nosec B104
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
