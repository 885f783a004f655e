"""What the fake proxy's HTTP dialects share: requests, answers, routing, authentication."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery_mailproxy.testing.fake.delivery import FakeDelivery
from celery_mailproxy.testing.fake.records import FakeRecords

__all__ = ["Answer", "Crash", "Dialect", "Found", "Invalid", "Refused", "Request", "Route"]


class Crash(Exception):
    """The real proxy does not handle this: a bare 500, and the connection is closed."""


class Invalid(Exception):
    """422, with FastAPI's list of what is wrong."""

    def __init__(self, *location: str | int, problem: str = "Field required", kind: str = "missing") -> None:
        super().__init__(problem)
        self.detail: list[dict[str, Any]] = [{"type": kind, "loc": list(location), "msg": problem, "input": None}]


class Refused(Exception):
    """An answer that is not a success, with what it says of the reason."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, its body not parsed yet."""

    method: str
    path: str
    query: dict[str, str]
    token: str | None
    content: bytes

    def json(self) -> dict[str, Any]:
        try:
            body = json.loads(self.content)
        except ValueError as exc:
            raise Invalid("body", 1, problem="JSON decode error", kind="json_invalid") from exc
        if not isinstance(body, dict):
            raise Invalid("body", problem="Input should be a valid dictionary", kind="model_attributes_type")
        return body

    def field(self, name: str, kind: type | tuple[type, ...] = str) -> Any:
        """A required field of the body."""
        body = self.json()
        if name not in body:
            raise Invalid("body", name)
        if not isinstance(body[name], kind):
            raise Invalid("body", name, problem="Input should be of another type", kind="type_error")
        return body[name]

    def parameter(self, name: str) -> str:
        """A required parameter of the query."""
        if name not in self.query:
            raise Invalid("query", name)
        return self.query[name]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer; `body` is sent as JSON, or as it is if it is text."""

    status: int = 200
    body: Any = None


Route = Callable[..., Any]

#: A route of the path that was asked for: its method, the match with the parts of the path, its handler.
Found = tuple[str, "re.Match[str]", Route]


class Dialect:
    """Base of them all: `routes` maps `"GET /path/{name}"` to a method; what it returns is the body of a 200."""

    submit_path = ""
    open_paths: tuple[str, ...] = ("/health", "/openapi.json")

    def __init__(self, records: FakeRecords, delivery: FakeDelivery, token: str) -> None:
        self.records = records
        self.delivery = delivery
        self.token = token
        self._routes = [(*_compiled(route), handler) for route, handler in self.routes().items()]

    def routes(self) -> dict[str, Route]:
        return {
            "GET /health": lambda request: {"status": "ok"},
            "GET /metrics": lambda request: self.metrics(),
            "GET /openapi.json": lambda request: self.openapi(),
            f"POST {self.submit_path}": self.submit,
        }

    def answer(self, request: Request) -> Answer:
        """Answer as the real proxy would: path first, then method, token, body."""
        found = [
            (method, match, handler)
            for method, pattern, handler in self._routes
            if (match := pattern.fullmatch(request.path))
        ]
        if not found:
            return self.not_found(request)
        for method, match, handler in found:
            if method == request.method:
                return self.call(handler, request, match.groupdict())
        return self.wrong_method(request, found)

    def not_found(self, request: Request) -> Answer:
        return self.error(404, "Not Found")

    def wrong_method(self, request: Request, found: list[Found]) -> Answer:
        return self.error(405, "Method Not Allowed")

    def unauthorized(self) -> Answer:
        return self.error(401, "Invalid or missing API token")

    def error(self, status: int, detail: Any) -> Answer:
        """What its server makes of an error, as FastAPI does."""
        return Answer(status=status, body={"detail": detail})

    def invalid(self, exc: Invalid) -> Answer:
        return self.error(422, exc.detail)

    def is_known_token(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.token.encode())

    def submit(self, request: Request) -> Any:
        raise NotImplementedError

    def metrics(self) -> str:
        with self.records.lock:
            pending = sum(record.status in ("pending", "deferred") for record in self.records.messages.values())
            sent = len(self.records.delivered)
        return (
            "# HELP gmp_sent_total Total sent emails\n# TYPE gmp_sent_total counter\n"
            f"gmp_sent_total {sent}\n"
            "# HELP gmp_pending_messages Current pending messages\n# TYPE gmp_pending_messages gauge\n"
            f"gmp_pending_messages {pending}\n"
        )

    def openapi(self) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        for route in self.routes():
            method, path = route.split(" ")
            if path != "/openapi.json":
                paths.setdefault(path, {})[method.lower()] = {}
        return {"openapi": "3.1.0", "info": {"title": "Async Mail Service", "version": "0.1.0"}, "paths": paths}

    def call(self, handler: Route, request: Request, parts: dict[str, str]) -> Answer:
        """Call a handler for a request that may be made."""
        if request.path not in self.open_paths and not (request.token and self.is_known_token(request.token)):
            return self.unauthorized()
        try:
            body = handler(request, **parts)
        except Invalid as exc:
            return self.invalid(exc)
        except Refused as exc:
            return self.error(exc.status, exc.detail)
        return body if isinstance(body, Answer) else Answer(body=body)


def _compiled(route: str) -> tuple[str, re.Pattern[str]]:
    method, path = route.split(" ")
    return method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
