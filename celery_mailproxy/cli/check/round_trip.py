"""The round trip of `check --send-to`: a real mail, from here to an SMTP server, and its report back to the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from celery import Celery

from ...conf.settings import ServerSettings
from ...deliveries.delivery import Status
from ...errors import MailProxyError
from ...proxy.client import ProxyClient
from ...runtime import get_runtime
from ..follow import Followed, follow, is_settled
from ..send import publish, submit
from ..terminal import Terminal, clock_time, from_seconds, plain, span
from .links import Link, failed, fine

__all__ = ["NAME", "round_trip"]

NAME = "round trip"

_BODY = "This email was sent by 'celery mailproxy check --send-to'. Mail from this application arrives."


def round_trip(
    app: Celery,
    server: ServerSettings,
    address: str,
    *,
    from_email: str | None,
    through_worker: bool,
    timeout_seconds: float,
    terminal: Terminal | None,
) -> Link:
    """Send a mail as the application would, and follow it until its delivery is reported."""
    message_id = f"check-{uuid4()}"
    mail = {"to": [address], "subject": "celery-mailproxy check", "body": _BODY, "server": server.name}
    if from_email:
        mail["from_email"] = from_email
    # The account's own tenant and account hold: a check for others has them in its server's settings.
    mail |= {name: value for name, value in (("tenant_id", server.tenant), ("account_id", server.account)) if value}
    if through_worker:
        # A mail that no worker takes in time must not surprise its recipient tomorrow.
        publish(app, mail, message_id, expires=timeout_seconds)
    else:
        submit(app, mail, message_id)
    store = get_runtime(app).store
    followed = follow(store, message_id, timeout_seconds=timeout_seconds, terminal=terminal, stop_at=is_settled)
    return _judge(server, message_id, followed, through_worker=through_worker)


def _judge(server: ServerSettings, message_id: str, followed: Followed, *, through_worker: bool) -> Link:
    status, after = followed.status, span(followed.seconds)
    reason = plain(followed.reason or "no reason was given")
    if status is Status.SENT:
        way = "through broker and worker" if through_worker else "submitted from here"
        return fine(NAME, f"{way}; sent and reported after {after} ({message_id})")
    if status is Status.DEFERRED:
        remedy = "The links work, and the proxy will retry. Check the SMTP account unless the address is the reason."
        return failed(NAME, f"deferred after {after}: {reason}", remedy)
    if status.is_end:
        return failed(NAME, f"{status} after {after}: {reason}", "Fix the account or the address, as the reason says.")
    if status is Status.QUEUED:
        return _without_report(server, message_id, after)
    remedy = "Start a worker that consumes the queue of celery_mailproxy.send_via_proxy, and check its log."
    return failed(NAME, f"the email had not reached the proxy after {after}", remedy)


def _without_report(server: ServerSettings, message_id: str, after: str) -> Link:
    """The proxy has the mail, and no report came: only the proxy knows more."""
    found = f"queued, and no report after {after}"
    record = _record_of_proxy(server, message_id)
    if record.get("error_ts"):
        found += f"; the proxy gave it up: {plain(str(record.get('error') or 'no reason'))}"
    elif record.get("sent_ts") or record.get("smtp_ts"):
        found += "; the proxy has sent it"
    elif deferred := record.get("deferred_ts"):
        # 0.5.0 does not report this.
        until = clock_time(from_seconds(deferred))
        remedy = "Check the SMTP account: the proxy's log has the server's answer."
        return failed(NAME, f"{found}; the proxy has deferred it until {until}", remedy)
    else:
        remedy = "Check that the proxy is active and can reach its SMTP server, or try a longer --timeout."
        return failed(NAME, found, remedy)
    remedy = "Its report does not arrive: fix the callback, and start a worker that consumes dispatch_reports' queue."
    return failed(NAME, found, remedy)


def _record_of_proxy(server: ServerSettings, message_id: str) -> Mapping[str, Any]:
    if server.tenant is None:
        return {}
    client = ProxyClient(server)
    try:
        return next((each for each in client.messages(server.tenant) if each.get("id") == message_id), {})
    except MailProxyError:
        return {}
    finally:
        client.close()
