"""`ProxyBuilder`: genro-mail-proxy's own message builder, as a process to ask."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["BuiltMail", "ProxyBuilder", "ProxyBuilderError"]

_SCRIPT = Path(__file__).with_name("build_in_proxy.py")


class ProxyBuilderError(Exception):
    """The proxy would have rejected the message, reported an error, or deferred it for ever."""


@dataclass(frozen=True, kw_only=True)
class BuiltMail:
    """What the proxy hands to the SMTP server: the bytes of DATA (CRLF line ends), and the envelope."""

    data: bytes
    sender: str
    recipients: tuple[str, ...]


class ProxyBuilder:
    """Runs `build_in_proxy.py` with the proxy's interpreter and asks it, one message at a time.

    `python` is the interpreter that has the proxy's dependencies, `sys_path` the folders that go before its own (the
    proxy's sources where they are not installed). Use it as a context manager: leaving it ends the process.
    """

    def __init__(self, api: Literal["commands", "entities"], *, python: Path, sys_path: Iterable[Path] = ()) -> None:
        command = [str(python), "-I", str(_SCRIPT), api, *map(str, sys_path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="ascii")

    def __enter__(self) -> ProxyBuilder:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._process:
            """Leaving it closes the pipes and waits: the process ends with its input."""

    def build(self, message: dict[str, Any], *, cte_type: Literal["8bit", "7bit"] = "8bit") -> BuiltMail:
        """The mail that the proxy makes of a MESSAGE, for a server with 8BITMIME or (`7bit`) without."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"message": message, "cte_type": cte_type}) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise ProxyBuilderError(reply["error"])
        return BuiltMail(
            data=base64.b64decode(reply["data"]), sender=reply["sender"], recipients=tuple(reply["recipients"])
        )
