"""`CollectTask`: with `collect=True` a mail that was not delivered is a result, too, and fails no chord."""

from __future__ import annotations

from typing import Any

from ...deliveries.delivery import Delivery
from ...errors import (
    ConfigurationError,
    DeliveryError,
    InvalidMessage,
    MailProxyError,
    StoreError,
    UnforeseenError,
    redact,
)
from .deliver_task import DeliverTask
from .outcome import outcome_name, outcome_of

__all__ = ["COLLECT_HEADER", "CollectTask"]

#: The header that carries `collect=True` into the resumed run, whose arguments may have been left out.
COLLECT_HEADER = "mail_proxy_collect"

#: What the result of a mail to each recipient alone has beside the others; see `joining`.
_JOINED = ("ids", "sent", "error")


class CollectTask(DeliverTask):
    """A `DeliverTask` that takes `collect=True`: its result is then the outcome, whatever it is.

    The result is `{"message_id", "outcome", "reason", "report"}`. `outcome` is `sent`, `error`, `rejected`,
    `bounced`, `cancelled`, `expired` or `suppressed`, and `queued` where the task was called directly or eagerly;
    `report` is the report as a dict, or None.
    """

    abstract = True
    own_arguments = (*DeliverTask.own_arguments, "collect")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        collects = bool(kwargs.get("collect") or self.request.get(COLLECT_HEADER))
        if collects and not self.request.called_directly:
            # Before the task's message is taken down: as a header it comes along whatever becomes of the arguments.
            headers = {**(self.request.headers or {}), COLLECT_HEADER: True}
            self.request.update({COLLECT_HEADER: True, "headers": headers})
        try:
            result = super().__call__(*args, **kwargs)
        except (ConfigurationError, StoreError, UnforeseenError):
            # Nothing that one mail came to.
            raise
        except MailProxyError as exc:
            if not collects:
                raise
            return _failed(exc, str(kwargs.get("message_id") or self.request.id))
        if not collects or "state" not in result:
            return result
        return {**_outcome(result["id"], "queued"), **{name: result[name] for name in _JOINED if name in result}}

    def take(self, delivery: Delivery, token: str) -> Any:
        if not self.request.get(COLLECT_HEADER):
            return super().take(delivery, token)
        self._hold_claim(delivery, token)
        outcome = outcome_of(delivery)
        report = outcome.report.to_json() if outcome.report else None
        # Of a mail that was sent, even to some of its recipients only, the report holds the reason.
        reason = None if outcome.name == "sent" else outcome.reason
        return {**_outcome(outcome.message_id, outcome.name, reason, report), **self._joined(delivery)}


def _failed(exc: MailProxyError, message_id: str) -> dict[str, Any]:
    """A mail that the proxy never had."""
    if isinstance(exc, DeliveryError):
        return _outcome(exc.message_id, outcome_name(exc), exc.reason)
    return _outcome(message_id, "rejected" if isinstance(exc, InvalidMessage) else "error", redact(str(exc)))


def _outcome(message_id: str, outcome: str, reason: str | None = None, report: Any = None) -> dict[str, Any]:
    return {"message_id": message_id, "outcome": outcome, "reason": reason, "report": report}
