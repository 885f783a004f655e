"""The `email` package of every supported Python that this machine has, as the proxy uses it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["flattened", "pythons"]

_VERSIONS = ("3.10", "3.11", "3.12", "3.13")

#: Reads a list of payloads on standard input, and writes what becomes of each, or the error that ends the proxy's run.
_SCRIPT = """
import json, sys
from email.generator import BytesGenerator
from email.message import EmailMessage
from email.policy import SMTP
from io import BytesIO

def flattened(payload):
    message = EmailMessage()
    message["From"] = payload["from"]
    message["To"] = ", ".join(payload["to"])
    message["Subject"] = payload["subject"]
    for name, key in (("Cc", "cc"), ("Bcc", "bcc")):
        if payload.get(key):
            message[name] = ", ".join(payload[key])
    for name, key in (("Reply-To", "reply_to"), ("Message-ID", "message_id")):
        if payload.get(key):
            message[name] = payload[key]
    message.set_content(payload["body"], subtype="html" if payload.get("content_type") == "html" else "plain")
    for name, value in payload["headers"].items():
        if name in message:
            message.replace_header(name, value)
        else:
            message[name] = value
    del message["Bcc"], message["Resent-Bcc"]
    file = BytesIO()
    BytesGenerator(file, policy=SMTP).flatten(message)
    return file.getvalue().decode("latin-1")

for payload in json.load(sys.stdin):
    try:
        answer = flattened(payload)
    except Exception as exc:
        answer = {"error": f"{type(exc).__name__}: {exc}"}
    print(json.dumps(answer))
"""


def pythons() -> list[str]:
    """An interpreter of each supported version, as far as there are any on PATH or pyenv's; at least this one."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    root = Path(shutil.which("pyenv") or "/nowhere").resolve().parents[1]
    for version in _VERSIONS:
        folders = [str(each) for each in sorted(root.glob(f"versions/{version}.*/bin"))]
        # Not the commands that pyenv puts on PATH: they start only those that it is told to.
        for folder in (*folders, "/usr/local/bin", "/usr/bin"):
            if version not in found and (path := shutil.which(f"python{version}", path=folder)):
                found[version] = path
    return [found[version] for version in _VERSIONS if version in found]


def flattened(python: str, payloads: Sequence[dict[str, Any]]) -> list[bytes]:
    """What the proxy hands to SMTP of each payload, if it runs on that Python. Fails where it would raise."""
    done = subprocess.run(
        [python, "-I", "-c", _SCRIPT], input=json.dumps(list(payloads)), capture_output=True, text=True, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [(answer, payload) for answer, payload in zip(answers, payloads, strict=True) if isinstance(answer, dict)]
    assert not failed, f"{python} raises {failed[0][0]['error']} for {failed[0][1]}"
    return [str(answer).encode("latin-1") for answer in answers]
