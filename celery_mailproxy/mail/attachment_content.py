"""The bytes of an attachment: of a file on this machine, or of base64."""

from __future__ import annotations

import base64
import binascii
from os import PathLike
from pathlib import Path

from ..errors import InvalidMessage

__all__ = ["decode_base64", "read_file"]


def read_file(path: str | PathLike[str]) -> bytes:
    """What the file holds. Raises `InvalidMessage` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, TypeError, ValueError) as exc:
        problem = getattr(exc, "strerror", None) or type(exc).__name__
        raise InvalidMessage(
            "attachments", f"must name a file on this machine that can be read ({problem}), got {path!r}"
        ) from exc


def decode_base64(text: str) -> bytes:
    """Raises `InvalidMessage` for anything else."""
    try:
        return base64.b64decode(text.encode("ascii", "replace"), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidMessage("attachments", "must have base64 for content; give bytes or a tuple for text") from exc
