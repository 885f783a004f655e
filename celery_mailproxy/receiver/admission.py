"""`Admission`: what a request's head says, found out once, before its body is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigurationError
from .authenticator import CHALLENGES, Authenticator, Caller
from .http import Request, Response, error_response, media_problem, normal_path
from .refusals import RefusalLog

__all__ = ["HEALTH_PATH", "Admission", "Admitter", "Route"]

HEALTH_PATH = "/health"

#: The request for an attachment holds one storage path and no more.
MAX_ATTACHMENT_REQUEST_BYTES = 64 * 1024

Route = Literal["reports", "attachments", "health", "unknown"]

_ANYBODY = Caller(tenant_id=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A request that may go on: what it is for, who sends it, and how many bytes of its body are wanted.

    Of a longer body it is enough to read one byte more than `body_limit`.
    """

    head: Request
    route: Route
    caller: Caller
    body_limit: int

    def body_problem(self, body: bytes) -> Response | None:
        """The answer to a body that is too large, or that ended early; else None."""
        if len(body) > self.body_limit:
            return self.too_large()
        if len(body) < int(self.head.headers.get("content-length", 0)):
            return error_response(400, "incomplete", "the body ended before Content-Length bytes had come.")
        return None

    def too_large(self) -> Response:
        """The answer to a body of more than `body_limit` bytes."""
        return error_response(413, "too_large", f"the body must be at most {self.body_limit} bytes.")


class Admitter:
    """Judges requests by their heads: route, method, credentials, declared length and media type, in this order."""

    def __init__(
        self, authenticator: Authenticator, *, report_path: str, attachments_path: str, max_report_bytes: int
    ) -> None:
        self._authenticator = authenticator
        self._refusals = RefusalLog()
        self._max_report_bytes = max_report_bytes
        self._not_found = (
            f"there is nothing here. Delivery reports go to {report_path}, requests for attachments to "
            f"{attachments_path}."
        )
        self._routes: Mapping[str, Route] = {
            HEALTH_PATH: "health",
            normal_path(attachments_path): "attachments",
            normal_path(report_path): "reports",
        }
        if len(self._routes) < 3:
            raise ConfigurationError(
                "mail_proxy_report_path and mail_proxy_attachments_path must differ, and neither may be "
                f"{HEALTH_PATH}, got {report_path!r} and {attachments_path!r}."
            )

    def admit(self, head: Request) -> tuple[Route, Admission | Response]:
        """The request's route, and either its admission or the answer that refuses it."""
        route = self._route(head)
        if route == "unknown":
            return route, error_response(404, "not_found", self._not_found)
        methods = ("GET", "HEAD") if route == "health" else ("POST",)
        if head.method not in methods:
            detail = f"the method must be {' or '.join(methods)}, got {head.method!r:.20}."
            return route, error_response(405, "method_not_allowed", detail, headers=[("Allow", ", ".join(methods))])
        if route == "health":
            return route, Admission(head=head, route=route, caller=_ANYBODY, body_limit=0)
        caller = self._authenticator.authenticate(head.headers.get("authorization"))
        if caller is None:
            return route, self._unauthorized(head)
        limit = self._max_report_bytes if route == "reports" else MAX_ATTACHMENT_REQUEST_BYTES
        admission = Admission(head=head, route=route, caller=caller, body_limit=limit)
        return route, _length_problem(admission) or media_problem(head) or admission

    def _route(self, head: Request) -> Route:
        # A mount's prefix may be part of the configured path (/mail-proxy + /sync) or come before it (/api + …).
        for path in (head.path, head.mount + head.path):
            if (route := self._routes.get(normal_path(path))) is not None:
                return route
        return "unknown"

    def _unauthorized(self, head: Request) -> Response:
        given = "a wrong token" if head.headers.get("authorization") else "no token"
        self._refusals.note(given, head.client)
        detail = (
            f"{given} was sent. The Authorization header must be 'Bearer TOKEN' (or Basic with user:password) with a "
            "token of mail_proxy_sync_token; in the proxy it is the tenant's client_auth."
        )
        return error_response(
            401, "unauthorized", detail, headers=[("WWW-Authenticate", challenge) for challenge in CHALLENGES]
        )


def _length_problem(admission: Admission) -> Response | None:
    length = admission.head.headers.get("content-length")
    if length is None:
        return None
    # int() would take "+5", " 5", "5_0" and digits of other scripts.
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        return error_response(400, "bad_content_length", "Content-Length must be a whole number of bytes.")
    return admission.too_large() if int(length) > admission.body_limit else None
