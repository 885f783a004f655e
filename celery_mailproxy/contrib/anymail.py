"""Tracking events of django-anymail become our signals: for projects whose SMTP account is an e-mail service's.

Call `connect_tracking()` once, such as in `AppConfig.ready()`. The service's webhook then leads to `mail_bounced` and
`mail_complained`, in the worker that dispatches the report, as a bounce from the mailbox does. Needs the extra
`anymail`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

from celery import Celery

from ..bounces.codes import bounce_type_of, enhanced_code, reply_code
from ..bounces.finding import candidates, delivery_for, known_deliveries
from ..bounces.notice import BounceType, Clues
from ..deliveries.report import MAX_REASON_LENGTH, DeliveryReport, Kind, utcnow
from ..dispatch.postponing import postponer_of
from ..errors import ConfigurationError
from ..runtime import get_runtime

try:
    from anymail.signals import EventType, RejectReason, tracking
except ModuleNotFoundError as missing:
    raise ConfigurationError(
        'tracking events need django-anymail, which is not installed: pip install "celery-mailproxy[anymail]"'
    ) from missing

__all__ = ["VIA", "connect_tracking"]

#: What `DeliveryReport.via` says of reports from here.
VIA = "anymail"

#: The events that we tell of. What was deferred or delivered is history by then: the proxy has reported `sent`.
_KINDS: Mapping[str, Kind] = {
    EventType.BOUNCED: Kind.BOUNCED,
    EventType.REJECTED: Kind.BOUNCED,
    EventType.FAILED: Kind.BOUNCED,
    EventType.COMPLAINED: Kind.COMPLAINED,
}

#: What a service says that knows no code. `bounced` is its word for an address that it has given up.
_TYPES: Mapping[str, BounceType] = {
    RejectReason.INVALID: "hard",
    RejectReason.BOUNCED: "hard",
    RejectReason.TIMED_OUT: "soft",
    RejectReason.BLOCKED: "soft",
    RejectReason.SPAM: "soft",
}

#: Keys of services' raw events, in small letters and without marks, under which a Message-ID may stand.
_ID_KEYS = frozenset({"messageid", "smtpid", "originalmessageid", "rfc822messageid"})

_MAX_DEPTH = 6


def connect_tracking(app: Celery | None = None) -> None:
    """Dispatch the tracking events about mails of an app, by default the current one. Once is enough.

    A webhook that cannot be dispatched, because store or broker are away, is answered with 500: the service comes
    again, and what has been dispatched is not dispatched twice.
    """
    tracking.connect(partial(_on_tracking, app), weak=False, dispatch_uid=f"celery_mailproxy.contrib.anymail/{id(app)}")


def _on_tracking(app: Celery | None, sender: Any, event: Any, esp_name: str, **kwargs: Any) -> None:
    kind = _KINDS.get(event.event_type)
    if kind is None:
        return
    runtime = get_runtime(app)
    ids = candidates(Clues(message_ids=tuple(_message_ids(event))), None)
    known = known_deliveries(runtime.store, ids)
    target = delivery_for(ids, known, event.recipient)
    if target is not None:
        # Mails that were not sent through the proxy are not ours to tell of.
        postponer_of(runtime).postpone([_report(kind, target[0], event, esp_name)])


def _report(kind: Kind, message_id: str, event: Any, esp_name: str) -> DeliveryReport:
    said = " ".join(str(each) for each in (event.mta_response, event.description) if each)
    status, reply = enhanced_code(said), reply_code(said)
    is_bounce = kind is Kind.BOUNCED
    bounce_type = bounce_type_of(status, reply, said) or _TYPES.get(event.reject_reason or "")
    recipient = event.recipient or ""
    # A service that repeats itself says the same; one with ids of its own gives the same id.
    origin = [esp_name, event.event_type, event.event_id or f"{event.timestamp} {said}", recipient.lower(), message_id]
    return DeliveryReport(
        kind=kind,
        message_id=message_id,
        at=event.timestamp or utcnow(),
        reason=(said or event.reject_reason or event.event_type)[:MAX_REASON_LENGTH],
        code=(status or reply) if is_bounce else None,
        bounce_type=bounce_type if is_bounce else None,
        recipient=recipient or None,
        event_id=sha256("\0".join(origin).encode("utf-8", "replace")).hexdigest()[:16],
        via=VIA,
    )


def _message_ids(event: Any) -> Iterator[str]:
    """What may be the mail's Message-ID: some services have ids of their own, and tell it beside."""
    for text in (event.message_id, *_ids_in(event.esp_event, _MAX_DEPTH)):
        if isinstance(text, str) and "@" in text:
            yield text.strip().strip("<>")


def _ids_in(value: Any, depth: int) -> Iterator[Any]:
    if depth == 0:
        return
    if isinstance(value, Mapping):
        if _is_id_key(value.get("name")):
            yield value.get("value")
        for key, each in value.items():
            if _is_id_key(key):
                yield each
            yield from _ids_in(each, depth - 1)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _ids_in(each, depth - 1)


def _is_id_key(key: Any) -> bool:
    return isinstance(key, str) and key.lower().replace("-", "").replace("_", "") in _ID_KEYS
