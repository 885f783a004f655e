"""The v1 API: the line in development, which has what 0.6.10 has below `/mailproxy/v1`, on another server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .api import Call
from .commands import Commands06API
from .literals import read_literal
from .typed_text import protect

__all__ = ["V1API"]


class V1API(Commands06API):
    """Errors are Python literals in a text, and texts that look typed are changed unless they are protected."""

    name = "v1"
    base_path = "/mailproxy/v1"

    def encode(self, call: Call) -> Call:
        return replace(call, params=protect(call.params), json=protect(call.json))

    def _all_refused(self, body: Mapping[str, Any]) -> Any:
        # 400 {"error": "{'error': None, 'rejected': […]}"}
        return read_literal(body.get("error"))
