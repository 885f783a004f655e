"""Media types of files: what their names say, and whether it is true."""

from __future__ import annotations

import mimetypes
import re
from email import policy
from email.parser import BytesHeaderParser

__all__ = ["MIME_TYPE", "guessed_type", "is_mail"]

MIME_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")


def guessed_type(filename: str | None, content: bytes | None) -> str | None:
    """The type that the name of a file stands for; None where there is none. `content` may be elsewhere (None)."""
    try:
        guessed, encoding = mimetypes.guess_type(filename or "")
    except ValueError:
        # It takes the name for a URL.
        return None
    # A .tar.gz is not a tar archive until it is unpacked.
    if guessed is None or encoding is not None or not MIME_TYPE.fullmatch(guessed):
        return None
    # A file may be called .eml or .mht, whatever is in it; and what is elsewhere cannot be sent as a message.
    is_known = guessed != "message/rfc822" or (content is not None and is_mail(content))
    return guessed if is_known else None


def is_mail(content: bytes) -> bool:
    """Whether a message begins with it: headers, at least one."""
    return bool(BytesHeaderParser(policy=policy.compat32).parsebytes(content).keys())
