"""The line in development, faked: what 0.6.10 has, below `/mailproxy/v1`, on another server."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from celery_mailproxy.testing.fake.commands_06 import Commands06Dialect
from celery_mailproxy.testing.fake.dialect import Answer, Crash, Found, Invalid, Request, Route

__all__ = ["V1Dialect"]

_MOUNT = "/mailproxy"
_BASE = "/mailproxy/v1"

#: The first parts of paths with a router of their own.
_GROUPS = ("account", "accounts", "commands", "messages", "tenant", "tenants")

#: The paths whose handlers look at the method: any other is called by whichever.
_BY_METHOD = ("/tenant", "/account")


class V1Dialect(Commands06Dialect):
    """Decodes typed text, writes its errors as text, and has no OpenAPI document at the usual place."""

    open_paths: tuple[str, ...] = ("/health", "/metrics")

    def routes(self) -> dict[str, Route]:
        return {route: handler for route, handler in super().routes().items() if route != "GET /openapi.json"}

    def answer(self, request: Request) -> Answer:
        if request.path == f"{_MOUNT}/health":
            return Answer(body={"status": "ok"})
        if not request.path.startswith(f"{_BASE}/"):
            return Answer(status=404, body="Not Found")
        try:
            return super().answer(_decoded(request))
        except (Crash, ValueError):
            # Its server catches what nobody has foreseen, and leaves the connection open.
            return self.error(500, "Internal Server Error")

    def not_found(self, request: Request) -> Answer:
        first, _, rest = request.path[1:].partition("/")
        return self.error(404, f"route:v1/{first}" if rest and first in _GROUPS else "route:v1")

    def wrong_method(self, request: Request, found: list[Found]) -> Answer:
        if request.path.startswith(_BY_METHOD) and not request.path.startswith("/tenants"):
            return self.error(405, f"{request.method} not allowed on {request.path}")
        _, match, handler = found[0]
        return self.call(handler, replace(request, content=request.content or b"{}"), match.groupdict())

    def unauthorized(self) -> Answer:
        return Answer(status=401, body={"login_url": "/_server/login_page"})

    def error(self, status: int, detail: Any) -> Answer:
        return Answer(status=status, body={"error": str(detail)})

    def invalid(self, exc: Invalid) -> Answer:
        lines = ["Invalid request body: 1 validation error for EnqueueMessagesPayload"]
        for problem in exc.detail:
            path = ".".join(map(str, list(problem["loc"])[1:]))
            lines += [path, f"  {problem['msg']} [type={problem['type']}, input_value=None, input_type=NoneType]"]
        return self.error(422, "\n".join(lines))


def _decoded(request: Request) -> Request:
    """The request below its base path, with every typed text decoded. Raises `ValueError` where that fails."""
    content = request.content
    try:
        body = json.loads(content) if content else None
    except ValueError:
        body = None
    if body is not None:
        content = json.dumps(_typed(body)).encode()
    query = {name: str(_typed(value)) for name, value in request.query.items()}
    return replace(request, path=request.path.removeprefix(_BASE), query=query, content=content)


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _typed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    return _typed_text(value) if isinstance(value, str) else value


def _typed_text(text: str) -> Any:
    """What genro-tytx makes of a text. A date is no text any more, whatever else it is."""
    head, _, code = text.rpartition("::")
    if code in ("N", "R"):
        return float(head)
    if code == "L":
        return int(head)
    if code in ("D", "DH", "DHZ", "H"):
        return {"date": head}
    if code == "B":
        return head.lower() in ("true", "1", "yes")
    if code == "NN":
        return None
    return head if code == "T" and "::" in text else text
