"""Resending a mail of the log, under a new id."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import formatdate, getaddresses, make_msgid
from typing import Any
from uuid import uuid4

from celery import current_app
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from ...conf.settings import LEGACY
from ...errors import InvalidMessage, MailProxyError
from ...runtime import get_runtime
from ...tasks.sending.callbacks import CALLBACK_ARGUMENTS
from ..log import content
from ..log.beginning import begin
from ..log.models import EmailLog
from ..log.routing import log_alias
from ..log.row_codec import message_id_of
from ..log.row_texts import exact
from .celery_email import CeleryEmailSettings
from .conversion import convert
from .handover import Handover
from .outbox import log_with_outbox
from .publishing import Publication, plan, proxy_call, publish

__all__ = ["ResendRefused", "new_token", "refusal", "resend"]

logger = logging.getLogger(__name__)

_MAX_ID_LENGTH = 255

#: The column → the option of a mail that says the same.
_OPTIONS = ("priority", "tenant_id", "account_id", "server", "batch_code")


class ResendRefused(MailProxyError):
    """The mail cannot be resent; the text says why, in the user's language."""


def new_token() -> str:
    """What makes the ids of one resend new: with the same token a mail is sent again once, however often asked."""
    return uuid4().hex[:8]


def refusal(mail: EmailLog) -> Any:
    """Why the mail cannot be sent again, or None."""
    if not mail.is_ended:
        return _("It is still on its way.")
    if mail.content is None:
        return _("Its content is not kept. MAIL_PROXY_LOG_CONTENT = True keeps the content of later mails.")
    if not mail.recipients and len(_visible_recipients(mail)) != mail.recipient_count:
        return _("Its recipients are not kept. MAIL_PROXY_LOG_RECIPIENTS = True keeps those of later mails.")
    return None


def resend(mail: EmailLog, *, token: str | None = None) -> EmailLog:
    """Send the mail again to the same recipients, with the same callbacks; the log of the new one.

    It is published when the transaction is committed. Raises `ResendRefused`, `MailProxyError` for wrong settings, and
    without the outbox one of `publishing.BROKER_ERRORS` where the broker is down: then nothing is left of it.
    """
    if reason := refusal(mail):
        raise ResendRefused(str(reason))
    app = current_app._get_current_object()
    settings, legacy = get_runtime(app).settings, CeleryEmailSettings.load()
    message_id = _new_id(message_id_of(mail.message_id, mail.details), token or new_token())
    try:
        converted = convert(_Copy(mail, message_id), defaults={}, legacy=legacy, settings=settings)
    except InvalidMessage as exc:
        raise ResendRefused(str(exc)) from exc
    (publication,) = plan([replace(converted, entry=replace(converted.entry, resent_from_id=mail.pk))])
    handover = Handover(app=app, settings=settings, options=legacy.publish_options, call_of=proxy_call)
    alias = log_alias()
    if log_with_outbox(app, settings):
        with transaction.atomic(using=alias):
            handover.at_commit([publication], using=alias)
            return EmailLog.objects.using(alias).get(message_id=exact(message_id))

    def hand_over() -> None:
        try:
            publish(publication, app=app, settings=settings, options=legacy.publish_options)
        except Exception as exc:
            # By its type alone: what else it says may quote the mail.
            logger.error("message %s was not published: %s", message_id, type(exc).__name__)
            _undo(again, publication, alias)
            raise

    with transaction.atomic(using=alias):
        (again,) = begin(publication.entries, settings=settings)
        transaction.on_commit(hand_over, using=alias)
    return again


def _undo(again: EmailLog, publication: Publication, alias: str) -> None:
    """Forget a mail that nobody will send, with the file that its content may have been written to."""
    names = {mail.content_name for mail in publication.mails}
    # A form that is submitted twice finds the row of the first time, whose task may be on its way.
    if again.task_id == publication.task_id:
        rows = EmailLog.objects.using(alias).filter(pk=again.pk, status=EmailLog.Status.NEW)
        # The storage may have chosen another name than it was asked for; the row has that.
        names |= set(rows.values_list("content_name", flat=True))
        rows.delete()
    content.discard([name for name in names if name])


class _Copy:
    """A kept mail with what the backend asks of Django's `EmailMessage`."""

    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()

    def __init__(self, mail: EmailLog, message_id: str) -> None:
        self._source = bytes(mail.content or b"")
        self.from_email = mail.sender or str(_headers(mail)["From"])
        self.to = mail.recipient_list or _visible_recipients(mail)
        related = [relation.find_object() for relation in mail.relations.all()]
        callbacks = json.loads(mail.callbacks) if mail.callbacks else {}
        options = {
            "message_id": message_id,
            "return_path": mail.return_path,
            "metadata": json.loads(mail.metadata) if mail.metadata else None,
            "tags": json.loads(mail.tags) if mail.tags else None,
            "related": [each for each in related if each is not None],
            **{name: getattr(mail, name) for name in _OPTIONS},
            # Without those that an erased address has left empty.
            **{name: list(filter(None, callbacks.get(outcome, ()))) for name, outcome in CALLBACK_ARGUMENTS.items()},
        }
        if options["server"] == LEGACY:
            # It was sent through the legacy transport; the backend chooses anew.
            del options["server"]
        self.mail_proxy = {name: value for name, value in options.items() if value not in (None, "", [])}

    def recipients(self) -> Sequence[str]:
        return self.to

    def message(self) -> Message:
        message = message_from_bytes(self._source, policy=policy.compat32)
        # A server that has had the first one would take the second for a copy of it.
        del message["Message-ID"]
        message["Message-ID"] = make_msgid()
        del message["Date"]
        message["Date"] = formatdate()
        return message


def _new_id(message_id: str, token: str) -> str:
    suffix = f"-resend-{token}"
    # Of a resent mail the first id is kept, so that ids do not grow.
    base = re.sub(r"-resend-[0-9a-f]{8}\Z", "", message_id)
    return base[: _MAX_ID_LENGTH - len(suffix)] + suffix


def _headers(mail: EmailLog) -> Any:
    return BytesHeaderParser(policy=policy.default).parsebytes(bytes(mail.content or b""))


def _visible_recipients(mail: EmailLog) -> list[str]:
    headers = [str(value) for name in ("To", "Cc") for value in _headers(mail).get_all(name, [])]
    return [address for _name, address in getaddresses(headers) if address]
