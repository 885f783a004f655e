"""A POST of reports to a receiver whose token is `secret`."""

from __future__ import annotations

import json
import socket

from .waiting import PATIENCE_SECONDS

__all__ = ["HEADERS", "body", "refuses_connections"]

HEADERS = {"Authorization": "Bearer secret", "Content-Type": "application/json"}


def body(*ids: str) -> str:
    """It says of each of these messages that it was sent."""
    return json.dumps({"delivery_report": [{"id": each, "sent_ts": 1795324468} for each in ids]})


def refuses_connections(url: str) -> bool:
    """Whether nobody listens at `http://HOST:PORT`."""
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False
