"""Python's texts in columns: what a database refuses, folds or truncates is kept beside, so that nothing is lost.

PostgreSQL takes no NUL and no lone surrogate, MySQL and MariaDB compare without blanks at the end and may be reached
by a connection without the characters beyond U+FFFF, and columns with an index have a length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from typing import Any

from django.db import connections

from ...deliveries.stores.packing import dump_json

__all__ = ["dump_ascii", "exact", "inexact", "is_storable", "shown", "shown_id"]

#: The longest text in a column of type `ExactCharField`.
MAX_LENGTH = 255

_REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_UNSTORABLE_IN_THREE_BYTES = re.compile("[\0\ud800-\udfff\U00010000-\U0010ffff]")
_NEEDS_ESCAPE = re.compile("[\\\\\x00-\x1f\ud800-\udfff\U00010000-\U0010ffff]| \\Z")
_NOT_ASCII = re.compile("[^\x00-\x7f]+")

#: Begins what stands for a text that is too long: no escaped text begins so.
_DIGEST = "\\s"


def exact(text: str) -> str:
    """The text as a column of type `ExactCharField` holds it: another one for each other text, and never too long.

    Nearly every id is itself; odd characters are escaped as in JSON, and what is too long becomes its digest.
    """
    if _NEEDS_ESCAPE.search(text):
        escaped = json.dumps(text)[1:-1]
        kept = escaped.rstrip(" ")
        escaped = kept + "\\u0020" * (len(escaped) - len(kept))
    else:
        escaped = text
    if len(escaped) <= MAX_LENGTH:
        return escaped
    return _DIGEST + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def inexact(written: str) -> str | None:
    """The text that `exact` has written so, or None where only its digest is there."""
    if "\\" not in written:
        return written
    if written.startswith(_DIGEST):
        return None
    text: str = json.loads(f'"{written}"')
    return text


def shown(text: str, alias: str) -> str:
    """The text as people are to see it, in characters that the database takes."""
    return _unstorable(alias).sub(_REPLACEMENT, text)


def is_storable(text: str, alias: str) -> bool:
    """Whether the database takes the text as it is."""
    return _unstorable(alias).search(text) is None


def shown_id(text: str, alias: str) -> str:
    """The same, cut to the length of an `ExactCharField`."""
    return shown(text, alias)[:MAX_LENGTH]


def dump_ascii(value: Any) -> str:
    """JSON in ASCII; "" for what is empty. Raises `StoreError` for what JSON cannot say."""
    if not value and isinstance(value, Mapping | list | tuple):
        return ""
    return _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], dump_json(value))


@cache
def _unstorable(alias: str) -> re.Pattern[str]:
    connection = connections[alias]
    # Django's own default is three bytes a character up to 5.1.
    is_narrow = connection.vendor == "mysql" and connection.get_connection_params().get("charset") != "utf8mb4"
    return _UNSTORABLE_IN_THREE_BYTES if is_narrow else _UNSTORABLE
