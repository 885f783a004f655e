"""`Gate`: the last look at a mail before it leaves for the proxy: may it go, to whom, and with which headers?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from celery import Celery

from ...conf.settings import Settings
from ...deliveries.delivery import Delivery
from ...deliveries.report import Kind
from ...deliveries.stores.base import DeliveryStore
from ...dispatch.signals import mail_submitting
from ...errors import CancelSend, visible
from ...mail.changes import changed
from ...mail.message import MailMessage
from ...mail.recipients import keys_of, restricted, without
from ...runtime import Runtime

__all__ = ["WITHDRAWN", "Gate", "Submission", "Withheld", "check_withdrawn", "gate_of"]

#: Why a mail is not submitted that was cancelled.
WITHDRAWN = "cancelled before it was submitted"

logger = logging.getLogger(__name__)


class Withheld(Exception):
    """A mail does not leave, by our own decision: `kind` is how it ends, `reason` is why."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason


def check_withdrawn(delivery: Delivery) -> None:
    """Raise `Withheld` for a mail that was cancelled before this run began to submit it."""
    if delivery.is_withdrawn:
        raise Withheld(Kind.CANCELLED, WITHDRAWN)


class Submission:
    """A mail that is about to leave, as handlers of `mail_submitting` get it.

    `message` is the mail, `delivery` what is remembered of it.
    """

    def __init__(self, message: MailMessage, delivery: Delivery) -> None:
        self.message = message
        self.delivery = delivery

    def replace(
        self,
        *,
        to: object = None,
        cc: object = None,
        bcc: object = None,
        subject: object = None,
        headers: Mapping[str, object] | None = None,
    ) -> None:
        """Change the mail: `to`, `cc`, `bcc` and `subject` take the place of its own, `headers` are added or replaced.

        A header that is None is removed. Raises `InvalidMessage`.
        """
        self.message = changed(self.message, to=to, cc=cc, bcc=bcc, subject=subject, headers=headers)


class Gate:
    """Looks at each mail once more, each time it is submitted. `clock` gives unix seconds."""

    def __init__(
        self, *, app: Celery, settings: Settings, store: DeliveryStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._app = app
        self._settings = settings
        self._store = store
        self._clock = clock

    def pass_through(self, message: MailMessage, delivery: Delivery) -> MailMessage:
        """The mail as it may leave.

        Raises `Withheld` where it must not, `InvalidMessage` where nobody is left to get it or a handler asks for what
        cannot be sent, and what a handler raises.
        """
        check_withdrawn(delivery)
        if message.expires_at is not None and self._clock() >= message.expires_at:
            raise Withheld(Kind.EXPIRED, "it expired before it was submitted")
        message = self._asked(message, delivery)
        # After the handlers: whomever they name.
        return self.restricted(message)

    @property
    def restricts(self) -> bool:
        """Whether not everybody may get mail."""
        return bool(self._settings.allowed_recipients or self._settings.redirect_to)

    def restricted(self, message: MailMessage) -> MailMessage:
        """The mail, for those only who may get any. Raises `InvalidMessage` where nobody is left."""
        return restricted(message, allowed=self._settings.allowed_recipients, redirect_to=self._settings.redirect_to)

    def suppressed(self, messages: Iterable[MailMessage]) -> frozenset[str]:
        """Those among the recipients who are to get no mail, by their keys. One trip for all. Raises `StoreError`."""
        if not self._settings.suppression:
            return frozenset()
        keys = dict.fromkeys(key for message in messages for key in keys_of(message))
        return frozenset(each.address for each in self._store.suppression.find(list(keys)))

    def spared(self, message: MailMessage, suppressed: frozenset[str]) -> tuple[MailMessage, str | None]:
        """The mail without those recipients, and what is to be kept of that; None where it had none of them.

        Raises `Withheld` where nobody is left.
        """
        number = len(keys_of(message))
        message, dropped = without(message, suppressed)
        if not dropped:
            return message, None
        if not message.recipients:
            whose = "its recipient is" if number == 1 else f"all its {number} recipients are"
            raise Withheld(Kind.SUPPRESSED, f"{whose} on the suppression list")
        verb = "is" if dropped == 1 else "are"
        note = f"{dropped} of {number} recipients {verb} on the suppression list, and left out"
        logger.info("message %s: %s", visible(message.message_id), note)
        return message, note

    def _asked(self, message: MailMessage, delivery: Delivery) -> MailMessage:
        if not mail_submitting.has_listeners(self._app):
            return message
        submission = Submission(message, delivery)
        try:
            mail_submitting.ask(self._app, submission=submission)
        except CancelSend as exc:
            raise Withheld(Kind.CANCELLED, exc.reason) from exc
        return submission.message


def gate_of(runtime: Runtime) -> Gate:
    """The app's gate in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Gate:
    return Gate(app=runtime.app, settings=runtime.settings, store=runtime.store)
