"""Signals: what happened to a mail, sent where Celery runs the dispatch (a worker, unless `dispatch` is inline).

Connect as with Celery's own signals: `@mail_sent.connect`. Handlers get `sender` (the Celery app), `report` (a
`DeliveryReport`), `delivery` (a `Delivery`, or None for a message nobody registered) and `**kwargs`.
A handler that raises is logged and kept for replay; the other handlers run all the same.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import Any

from celery.utils.dispatch import Signal

from ..deliveries.report import Kind

__all__ = [
    "MailSignal",
    "delivery_reported",
    "mail_bounced",
    "mail_cancelled",
    "mail_complained",
    "mail_deferred",
    "mail_error",
    "mail_expired",
    "mail_overdue",
    "mail_pec",
    "mail_queued",
    "mail_rejected",
    "mail_sent",
    "mail_submitting",
    "mail_suppressed",
    "signals_of",
]

logger = logging.getLogger(__name__)


class MailSignal(Signal):  # type: ignore[misc]
    """A Celery signal that says which of its handlers failed, and can call those alone again."""

    def notify(self, sender: Any, *, only: Collection[str] | None = None, **named: Any) -> list[str]:
        """Call every handler, each guarded; the names of those that raised.

        With `only`, call those named so; a name of this signal that nobody is connected under counts as failed.
        """
        failed = []
        missing = {name for name in only or () if name.startswith(f"{self.name}:")}
        for handler in self._handlers(sender):
            name = self._name_of(handler)
            if only is not None and name not in only:
                continue
            missing.discard(name)
            try:
                handler(signal=self, sender=sender, **named)
            except Exception:
                # Not the arguments: a report may quote an address.
                logger.exception("mail handler %s raised", name)
                failed.append(name)
        for name in sorted(missing):
            logger.error("mail handler %s is not connected in this process", name)
        return failed + sorted(missing)

    def ask(self, sender: Any, **named: Any) -> None:
        """Call every handler in turn. What one raises is raised, and those behind it are not called."""
        for handler in self._handlers(sender):
            handler(signal=self, sender=sender, **named)

    def _handlers(self, sender: Any) -> list[Callable[..., Any]]:
        live = []
        for (_, sender_id), receiver in list(self.receivers):
            handler = receiver() if isinstance(receiver, weakref.ReferenceType) else receiver
            if handler is not None and sender_id in (_ANY_SENDER, id(sender)):
                live.append(handler)
        return live

    def _name_of(self, handler: Callable[..., Any]) -> str:
        module = getattr(handler, "__module__", None) or "?"
        return f"{self.name}:{module}.{getattr(handler, '__qualname__', type(handler).__qualname__)}"


#: How `Signal` notes that a handler was connected for every sender.
_ANY_SENDER = id(None)


def _signal(name: str) -> MailSignal:
    return MailSignal(name=name, providing_args={"report", "delivery"})


#: The proxy has the mail.
mail_queued = _signal("mail_queued")
#: The proxy refused the mail for good.
mail_rejected = _signal("mail_rejected")
#: An SMTP server took the mail.
mail_sent = _signal("mail_sent")
#: The mail has been given up.
mail_error = _signal("mail_error")
#: The mail has to wait; the proxy will try again.
mail_deferred = _signal("mail_deferred")
#: The mail came back after it had been sent.
mail_bounced = _signal("mail_bounced")
#: A recipient called the mail spam.
mail_complained = _signal("mail_complained")
#: The mail was withdrawn before it was sent.
mail_cancelled = _signal("mail_cancelled")
#: The mail was not sent by its `expires_at`.
mail_expired = _signal("mail_expired")
#: The mail was not sent, since its recipients are on the suppression list.
mail_suppressed = _signal("mail_suppressed")
#: The proxy has been silent about the mail for too long, and still has it: sent once for a mail.
mail_overdue = _signal("mail_overdue")
#: An event of certified mail (Italian PEC).
mail_pec = _signal("mail_pec")
#: Any of the above but `mail_queued` and `mail_overdue`, after the particular signal.
delivery_reported = _signal("delivery_reported")

#: The mail is about to leave for the proxy. Handlers get `submission` (a `Submission`), may change the mail by it, and
#: may raise `CancelSend`. It is sent before each attempt, so that a mail that is submitted again meets them again.
mail_submitting = MailSignal(name="mail_submitting", providing_args={"submission"})

_BY_KIND: Mapping[Kind, tuple[MailSignal, ...]] = {
    Kind.QUEUED: (mail_queued,),
    Kind.REJECTED: (mail_rejected, delivery_reported),
    Kind.SENT: (mail_sent, delivery_reported),
    Kind.ERROR: (mail_error, delivery_reported),
    Kind.DEFERRED: (mail_deferred, delivery_reported),
    Kind.BOUNCED: (mail_bounced, delivery_reported),
    Kind.COMPLAINED: (mail_complained, delivery_reported),
    Kind.CANCELLED: (mail_cancelled, delivery_reported),
    Kind.EXPIRED: (mail_expired, delivery_reported),
    Kind.SUPPRESSED: (mail_suppressed, delivery_reported),
    Kind.OVERDUE: (mail_overdue,),
    Kind.PEC: (mail_pec, delivery_reported),
}


def signals_of(kind: Kind) -> tuple[MailSignal, ...]:
    """The signals of a report of that kind, in the order they are sent."""
    return _BY_KIND[kind]
