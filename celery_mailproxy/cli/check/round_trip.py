"""The round trip of `check --send-to`: a real mail, from here to an SMTP server, and its report back to the store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
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
from ..terminal import Terminal, clock_time, plain, span
from .links import Link, failed, fine

__all__ = ["NAME", "round_trip"]

NAME = "round trip"

_BODY = "This mail was sent by 'celery mailproxy check --send-to'. Mail from this application arrives."


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
        # A mail that nobody takes from the queue in time must not surprise anybody tomorrow.
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
        remedy = "The links work. The proxy tries again; look at the SMTP account if the reason is not the address's."
        return failed(NAME, f"deferred after {after}: {reason}", remedy)
    if status.is_end:
        return failed(NAME, f"{status} after {after}: {reason}", "Correct what the reason names: account or address.")
    if status is Status.QUEUED:
        return _without_report(server, message_id, after)
    remedy = "Start a worker that takes the queue of celery_mailproxy.send_via_proxy, and look into its log."
    return failed(NAME, f"the proxy had not got the mail after {after}", remedy)


def _without_report(server: ServerSettings, message_id: str, after: str) -> Link:
    """The proxy has the mail, and no report came: only the proxy knows more."""
    found = f"queued, and no report after {after}"
    told = _told_by_proxy(server, message_id)
    if told.get("error_ts"):
        found += f"; the proxy gave it up: {plain(str(told.get('error') or 'no reason'))}"
    elif told.get("sent_ts") or told.get("smtp_ts"):
        found += "; the proxy has sent it"
    elif deferred := told.get("deferred_ts"):
        # The commands API does not report this.
        until = clock_time(datetime.fromtimestamp(float(deferred), timezone.utc))
        remedy = "Look at the SMTP account: the proxy's log has the server's answer."
        return failed(NAME, f"{found}; the proxy has deferred it until {until}", remedy)
    else:
        remedy = "See whether the proxy is active, and can reach its SMTP server. A longer --timeout may do, too."
        return failed(NAME, found, remedy)
    remedy = "Its report does not arrive: mend the callback, and see that a worker takes the queue of dispatch_reports."
    return failed(NAME, found, remedy)


def _told_by_proxy(server: ServerSettings, message_id: str) -> Mapping[str, Any]:
    if server.tenant is None:
        return {}
    client = ProxyClient(server)
    try:
        return next((each for each in client.messages(server.tenant) if each.get("id") == message_id), {})
    except MailProxyError:
        return {}
    finally:
        client.close()
