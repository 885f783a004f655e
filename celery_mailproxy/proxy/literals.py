"""Python literals in an answer: the v1 API writes its errors as `str(dict)`."""

from __future__ import annotations

import ast
from typing import Any

__all__ = ["MAX_LITERAL_CHARACTERS", "read_literal"]

#: The longest literal that is read: a thousand refused messages, each with the longest id and a long reason.
MAX_LITERAL_CHARACTERS = 1024 * 1024


def read_literal(text: Any) -> Any:
    """The value of a Python literal: of texts, numbers, lists and dicts. None where the text is none, or too long.

    Nothing in it is run: see `ast.literal_eval`.
    """
    if not isinstance(text, str) or len(text) > MAX_LITERAL_CHARACTERS:
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
