"""Typed text: how the v1 API would read `std::T`, and how a text is written that it is to leave alone.

Its server (genro-asgi, by genro-tytx) takes each JSON string and each value of a query that ends in `::CODE` for a
value of that type: `std::T` arrives as `std`, `5::N` as a number. Codes can be registered, so the list of them is open.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["protect"]

_TYPED = re.compile(r"::\w*\Z")

#: The code of text: what stands before it arrives as it is.
_TEXT = "::T"


def protect(value: Any) -> Any:
    """The JSON value with `::T` behind every string that might be taken for typed text. Keys are left alone."""
    if isinstance(value, str):
        return value + _TEXT if _TYPED.search(value) else value
    if isinstance(value, Mapping):
        return {key: protect(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [protect(each) for each in value]
    return value
