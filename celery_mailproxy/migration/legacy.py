"""The legacy transport with the proxy's contract: what SMTP says becomes the reports that a proxy would have sent.

accepted → `sent`, refused for good → `error`, to be tried again → `deferred`; each with `via="legacy"`, recorded and
dispatched like any other report. SMTP knows no ids: where a worker dies between the server's answer and our record of
it, the mail is sent again.
"""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import OperationalError

from ..deliveries.delivery import Delivery, Status, is_undispatched
from ..deliveries.leaving import new_run
from ..deliveries.report import DeliveryReport, Kind, utcnow
from ..dispatch.dispatcher import dispatcher_of
from ..errors import InvalidMessage, MailProxyError, redact
from ..mail.message import MailMessage
from ..mail.summary import summary_of
from ..proxy.api import HELD_BACK
from ..receiver.publisher import publisher_of
from ..runtime import Runtime
from ..tasks.sending.gate import Withheld, check_withdrawn, gate_of
from ..tasks.sending.outgoing import Outgoing
from .routing import LEGACY

__all__ = ["LegacyAnswer", "LegacyMail", "send_legacy"]

logger = logging.getLogger(__name__)

#: A mistake in the mail itself, which no second try fixes.
_FOR_GOOD = (ValueError, TypeError, smtplib.SMTPNotSupportedError)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyAnswer:
    """What became of a mail: SENT, ERROR or DEFERRED; `value` is what the transport returned, `error` what it raised.

    `is_news` is False where the mail had ended before, and the transport was not asked.
    """

    kind: Kind
    value: Any = None
    error: Exception | None = None
    is_news: bool = True


class LegacyMail:
    """One mail through the legacy transport. `outgoing` is the same mail for the proxy, where it could be made."""

    def __init__(self, runtime: Runtime, *, message_id: str, task_id: str, outgoing: Outgoing | None = None) -> None:
        self._runtime = runtime
        self.message_id = message_id
        self._task_id = task_id
        self._outgoing = outgoing

    def begin(self) -> Delivery:
        """Record that this mail is sent through the legacy transport, before it is; the delivery as it stood.

        Raises `StoreError`, and kombu's `OperationalError`.
        """
        (kept,) = self._runtime.store.register([self._delivery()])
        untold = [e.report for e in kept.history if is_undispatched(e)]
        begun = [] if kept.is_ended else [self._report(Kind.QUEUED)]
        if reports := [*untold, *(each for each in begun if each.key not in {e.report.key for e in kept.history})]:
            dispatcher_of(self._runtime).dispatch(reports)
        return kept

    def report(self, kind: Kind, reason: str | None = None, code: str | None = None) -> None:
        """Record and dispatch. Raises nothing: what SMTP has done is done, whatever becomes of our note of it."""
        if kind is not Kind.SENT:
            logger.warning(
                "message %s, legacy transport: %s: %s", self.message_id, kind, redact(reason or "no reason given")
            )
        report = self._report(kind, reason, code)
        try:
            dispatcher_of(self._runtime).dispatch([report])
            return
        except Exception as exc:
            problem = redact(str(exc)) if isinstance(exc, MailProxyError | OperationalError) else type(exc).__name__
        try:
            # A task of its own, which waits for the store.
            publisher_of(self._runtime)([report])
        except Exception as exc:
            text = "message %s: that it is %s could not be kept (%s; %s)"
            logger.error(text, self.message_id, kind, problem, type(exc).__name__)

    def _report(self, kind: Kind, reason: str | None = None, code: str | None = None) -> DeliveryReport:
        return DeliveryReport(kind=kind, message_id=self.message_id, at=utcnow(), reason=reason, code=code, via=LEGACY)

    def _delivery(self) -> Delivery:
        now = utcnow()
        fields: dict[str, Any] = {"server": LEGACY, "run": new_run()}
        if (out := self._outgoing) is not None:
            message = out.message
            fields |= {"callbacks": out.callbacks, "batch_code": message.batch_code, "metadata": message.metadata}
            fields |= {"tags": message.tags, "expires_at": message.expires_moment}
            if self._runtime.settings.store_summary:
                fields["summary"] = summary_of(out.message, keeps_envelope=self._runtime.store.keeps_envelope)
        return Delivery(message_id=self.message_id, created_at=now, updated_at=now, task_id=self._task_id, **fields)


def send_legacy(
    runtime: Runtime,
    *,
    message_id: str,
    task_id: str,
    transport: Callable[[MailMessage | None], Any],
    outgoing: Outgoing | None = None,
    is_last_try: bool = False,
) -> LegacyAnswer:
    """Send a mail by `transport`, which returns where SMTP has accepted it and raises where not; and report on it.

    `transport` is given the mail as it may leave (see `Gate`), or None where it could not be made. A mail that must not
    leave ends as it would on its way to the proxy; one that could not be made must not where not everybody may get
    mail. A mail that has ended is not sent again. On the last try what would be DEFERRED is an ERROR. Celery's own
    `Retry`, `Ignore` and `Reject` pass through: a retry is dispatched as DEFERRED. Raises `StoreError`, kombu's
    `OperationalError`, and what handlers of `mail_submitting` raise, before the mail is sent only.
    """
    mail = LegacyMail(runtime, message_id=message_id, task_id=task_id, outgoing=outgoing)
    kept = mail.begin()
    if kept.is_ended:
        is_sent = kept.status in (Status.SENT, Status.BOUNCED)
        return LegacyAnswer(kind=Kind.SENT if is_sent else Kind.ERROR, is_news=False)
    try:
        message = _passed(runtime, outgoing, kept)
    except Withheld as exc:
        mail.report(exc.kind, exc.reason)
        return LegacyAnswer(kind=Kind.ERROR, error=HELD_BACK[exc.kind](exc.reason, None, message_id))
    except InvalidMessage as exc:
        refusal = exc.redacted()
        mail.report(Kind.ERROR, str(refusal))
        return LegacyAnswer(kind=Kind.ERROR, error=refusal)
    try:
        value = transport(message)
    except Retry as exc:
        mail.report(Kind.DEFERRED, *_explained(exc.exc or exc))
        raise
    except (Ignore, Reject):
        raise
    except Exception as exc:
        kind = judge(exc)
        if is_last_try and kind is Kind.DEFERRED:
            kind = Kind.ERROR
        mail.report(kind, *_explained(exc))
        return LegacyAnswer(kind=kind, error=exc)
    mail.report(Kind.SENT)
    return LegacyAnswer(kind=Kind.SENT, value=value)


def _passed(runtime: Runtime, outgoing: Outgoing | None, kept: Delivery) -> MailMessage | None:
    """The mail as it may leave; None where it is not known. Raises as `Gate.pass_through`."""
    check_withdrawn(kept)
    gate = gate_of(runtime)
    if outgoing is not None:
        message = gate.pass_through(outgoing.message, kept)
        return gate.spared(message, gate.suppressed([message]))[0]
    if gate.restricts:
        raise InvalidMessage(
            "to", "must be known with mail_proxy_allowed_recipients or mail_proxy_redirect_to: see to_message's error"
        )
    return None


def judge(error: Exception) -> Kind:
    """ERROR where the mail was refused for good, DEFERRED where the next try may do better."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [answer[0] for answer in error.recipients.values()]
        return Kind.ERROR if codes and all(code >= 500 for code in codes) else Kind.DEFERRED
    if isinstance(error, smtplib.SMTPAuthenticationError | smtplib.SMTPHeloError | smtplib.SMTPConnectError):
        # The server's trouble with us, not with this mail.
        return Kind.DEFERRED
    if isinstance(error, smtplib.SMTPResponseException):
        return Kind.ERROR if error.smtp_code >= 500 else Kind.DEFERRED
    return Kind.ERROR if isinstance(error, _FOR_GOOD) else Kind.DEFERRED


def _explained(error: object) -> tuple[str, str | None]:
    """The reason and the SMTP code."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        answers = list(error.recipients.values())
        code, text = answers[0] if answers else (0, b"")
        return f"{code} {_text(text)}", str(code)
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}", str(error.smtp_code)
    return f"{type(error).__name__}: {error}"[:_REASON_LENGTH], None


_REASON_LENGTH = 500


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
