"""`ReportReceiver`: takes delivery reports from the proxy. Free of frameworks: a request in, a response out.

The faces (`asgi.py`, `wsgi.py`, the worker's listener, Django's view) turn their server's request into a `Request`
without its body, ask `admit`, read at most `body_limit` bytes and one more, and send what `answer` says.

| route | answer |
| --- | --- |
| `POST /mail-proxy/sync` | 200 once every report is safely kept, else 503: the proxy then keeps them all |
| `POST /mail-proxy/attachments` | the content of an attachment, from a resolver of the user's |
| `GET /health` | `{"status": "ok"}`, without authentication |

A trailing slash makes no difference, and no route redirects.
"""

from __future__ import annotations

import json
import logging
import math
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, Literal

from ..conf.settings import UNSET, SyncTokens, Unset
from ..deliveries.report import DeliveryReport, ParsedReports, SetAside, parse_reports
from ..errors import InvalidReport, redact
from .admission import HEALTH_PATH, Admission, Admitter, Route
from .authenticator import Authenticator
from .http import Request, Response, attachment_response, error_response, json_response
from .resolvers import DEFAULT_REGISTRY, AttachmentNotFound, ResolverFailed, ResolverRegistry

__all__ = ["HEALTH_PATH", "Admission", "ReceiverCounts", "ReportReceiver", "Request", "Response"]

logger = logging.getLogger(__name__)

#: What a 503 asks the proxy to wait for. It has no back-off of its own.
RETRY_AFTER_SECONDS = 30

#: Of a body full of nonsense, so many entries are logged one by one.
_MAX_LOGGED_ENTRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverCounts:
    """What a receiver has done since it was built. `responses` maps `(route, status)` to a number."""

    responses: Mapping[tuple[str, int], int]
    reports_accepted: int
    entries_set_aside: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportReceiver:
    """Answers the proxy. Safe for use by many threads; `dataclasses.replace` makes one with other options.

    `accept` gets the reports of one request, never none, and returns once they are safely kept; whatever it raises
    becomes a 503. `tokens` and `auth` are `Settings.sync_token` and `sync_auth`. `next_sync_after` is called with the
    tenant id and returns when the proxy shall come next though it has nothing to report: unix seconds, an aware
    datetime, or None.

    Raises `ConfigurationError` where `tokens` is unset and `auth` is not "none", two tenants share a token, or two
    routes share a path.
    """

    accept: Callable[[Sequence[DeliveryReport]], None]
    tokens: SyncTokens | Unset = field(default=UNSET, repr=False)
    auth: Literal["token", "none"] = "token"
    report_path: str = "/mail-proxy/sync"
    attachments_path: str = "/mail-proxy/attachments"
    max_report_bytes: int = 16 * 1024 * 1024
    next_sync_after: Callable[[str | None], Any] | None = None
    resolvers: ResolverRegistry = field(default=DEFAULT_REGISTRY, repr=False)
    _admitter: Admitter = field(init=False, repr=False)
    _counter: Counter[Any] = field(init=False, repr=False, default_factory=Counter)
    _counter_lock: Any = field(init=False, repr=False, default_factory=Lock)

    def __post_init__(self) -> None:
        admitter = Admitter(
            Authenticator(self.tokens, auth=self.auth),
            report_path=self.report_path,
            attachments_path=self.attachments_path,
            max_report_bytes=self.max_report_bytes,
        )
        object.__setattr__(self, "_admitter", admitter)

    @property
    def counts(self) -> ReceiverCounts:
        """A snapshot of the counters, for metrics."""
        with self._counter_lock:
            counter = dict(self._counter)
        return ReceiverCounts(
            responses={key: number for key, number in counter.items() if isinstance(key, tuple)},
            reports_accepted=counter.get("accepted", 0),
            entries_set_aside=counter.get("set_aside", 0),
        )

    def admit(self, head: Request) -> Admission | Response:
        """The admission of a request by its head alone, or the answer that refuses it.

        So nobody without a token makes us read, or keep, a large body.
        """
        route, admitted = self._admitter.admit(head)
        return self._counted(route, admitted) if isinstance(admitted, Response) else admitted

    def answer(self, admission: Admission, body: bytes) -> Response:
        """The answer to an admitted request, of whose body one byte more than `body_limit` is enough.

        May block: `accept` waits for a broker, a resolver for whatever it does.
        """
        return self._counted(admission.route, self._answer(admission, body))

    def handle(self, request: Request) -> Response:
        """`admit` and `answer` in one, for a request whose body is there already."""
        admitted = self.admit(request)
        return admitted if isinstance(admitted, Response) else self.answer(admitted, request.body)

    def refuse_body(self, admission: Admission) -> Response:
        """The answer to a body that is known to be too large before it has been read."""
        return self._counted(admission.route, admission.too_large())

    def _answer(self, admission: Admission, body: bytes) -> Response:
        if admission.route == "health":
            return json_response(200, {"status": "ok"}, with_body=admission.head.method != "HEAD")
        if (problem := admission.body_problem(body)) is not None:
            return problem
        if admission.route == "attachments":
            return self._answer_attachment(body, admission.caller.tenant_id)
        return self._answer_reports(body, admission.caller.tenant_id)

    def _answer_reports(self, body: bytes, tenant_id: str | None) -> Response:
        try:
            parsed = parse_reports(body, tenant_id=tenant_id)
        except InvalidReport as exc:
            return error_response(400, "bad_body", f"{redact(str(exc))}.")
        _log_odd_entries(parsed)
        if parsed.reports:
            try:
                self.accept(parsed.reports)
            except Exception as exc:
                return _not_kept(parsed.reports, exc)
        self._count(accepted=len(parsed.reports), set_aside=len(parsed.set_aside))
        # Also where every entry was bad: anything but 2xx makes the proxy send them again, for ever.
        answer = {"ok": True, "queued": 0, "accepted": len(parsed.reports), "set_aside": len(parsed.set_aside)}
        return json_response(200, {**answer, **self._next_sync(tenant_id)})

    def _next_sync(self, tenant_id: str | None) -> dict[str, int]:
        if self.next_sync_after is None:
            return {}
        try:
            moment = self.next_sync_after(tenant_id)
            return {} if moment is None else {"next_sync_after": _unix_seconds(moment)}
        except Exception as exc:
            # A comfort, no reason to refuse reports that are already kept.
            logger.error("mail_proxy_next_sync_after failed and is left out: %s", _described(exc))
            return {}

    def _answer_attachment(self, body: bytes, tenant_id: str | None) -> Response:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            data = None
        storage_path = data.get("storage_path") if isinstance(data, dict) else None
        if not isinstance(storage_path, str) or not storage_path:
            return error_response(400, "bad_body", 'the body must be JSON: {"storage_path": "invoice_id=7"}.')
        try:
            return attachment_response(self.resolvers.resolve(storage_path, tenant_id=tenant_id))
        except AttachmentNotFound as exc:
            logger.warning("%s", exc)
            return error_response(404, "attachment_not_found", str(exc))
        except ResolverFailed as exc:
            logger.error("%s%s", exc, _frames(exc.__cause__))
            return error_response(500, "resolver_failed", f"{exc}. See the receiver's log.")

    def _counted(self, route: Route, response: Response) -> Response:
        with self._counter_lock:
            self._counter[route, response.status] += 1
        return response

    def _count(self, **numbers: int) -> None:
        with self._counter_lock:
            self._counter.update(numbers)


def _log_odd_entries(parsed: ParsedReports) -> None:
    """Log bad entries, and those without a time, by id and problem; never by reason, which may quote an address."""
    level = logging.WARNING if parsed.reports else logging.ERROR
    for entry in parsed.set_aside[:_MAX_LOGGED_ENTRIES]:
        logger.log(level, "set aside a delivery report of message %s: %s", _id(entry), redact(entry.problem))
    if (more := len(parsed.set_aside) - _MAX_LOGGED_ENTRIES) > 0:
        logger.log(level, "set aside %d more delivery reports of the same request", more)
    for untimed in parsed.untimed[:_MAX_LOGGED_ENTRIES]:
        logger.warning(
            "a delivery report of message %r counts from its arrival: %s", untimed.message_id, redact(untimed.problem)
        )
    if (more := len(parsed.untimed) - _MAX_LOGGED_ENTRIES) > 0:
        logger.warning("%d more delivery reports of the same request count from their arrival", more)


def _id(entry: SetAside) -> str:
    # repr: an id from the wire may hold a line break, and would forge a line of the log.
    return repr(entry.message_id) if entry.message_id is not None else "without an id"


def _not_kept(reports: Sequence[DeliveryReport], exc: Exception) -> Response:
    logger.error(
        "%d delivery reports could not be kept; the proxy will send them again: %s", len(reports), _described(exc)
    )
    detail = (
        "the reports could not be kept just now; none is acknowledged. See the receiver's log, and send them again."
    )
    return error_response(503, "not_kept", detail, headers=[("Retry-After", str(RETRY_AFTER_SECONDS))])


def _described(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {redact(str(exc))}{_frames(exc)}"


def _frames(exc: BaseException | None) -> str:
    # Frames without the exceptions' own text, which may quote what is being handled.
    return "" if exc is None else "\n" + "".join(traceback.format_tb(exc.__traceback__)).rstrip()


def _unix_seconds(moment: Any) -> int:
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError("a datetime must be aware")
        return math.ceil(moment.timestamp())
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise TypeError(f"must be unix seconds, an aware datetime or None, got {type(moment).__name__}")
    return math.ceil(moment)
