"""The drain in a worker: submits the mails of a queued task to the proxy, each once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from django.db import DatabaseError, InterfaceError

from ...deliveries.delivery import Status
from ...errors import InvalidMessage, UnforeseenError, redact
from ...proxy.api import SubmitAnswer
from ...runtime import Runtime, get_runtime
from ...tasks.sending.callbacks import split_callbacks
from ...tasks.sending.outgoing import Outgoing
from ...tasks.sending.retrying import RETRYABLE, retry_later, retry_or_give_up
from ...tasks.sending.submitter import submitter_of
from ..backend.celery_email import CeleryEmailSettings
from ..backend.conversion import ConvertedMail, convert
from ..backend.mailers import configured_mailers
from ..backend.options import BACKEND_OPTIONS
from ..log.opening import open_log
from . import letters
from .models import DeadLetter
from .queued import QueuedMail, QueuedTask, unpack
from .reading import read

__all__ = ["TRANSIENT", "drain", "keep_undrained", "send_letter"]

#: Transient errors: the queued task is retried.
TRANSIENT = (*RETRYABLE, DatabaseError, InterfaceError)

_OURS = "celery_mailproxy.django."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What became of mails: those that the proxy has, those that it will not have, and those to be tried again."""

    answer: SubmitAnswer = field(default_factory=SubmitAnswer)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    number: int = 0

    @property
    def ended(self) -> dict[str, str]:
        """The reasons of those whose delivery has ended without the proxy having them."""
        return {**self.answer.rejected, **{each: str(error) for each, error in self.answer.failed.items()}}


def drain(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Submit the mails of a queued task; the number of those that the proxy has. See `tasks.send_multiple`."""
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    queued = unpack(args, kwargs, task_id=task_id)
    # A retry is published with these: without the login, and without what nobody reads any more.
    task.request.args, task.request.kwargs = queued.arguments(frozenset(mail.message_id for mail in queued.mails))
    outcome = _submit(runtime, queued.mails, using=queued.using, task_id=task_id)
    letters.keep(queued.mails, outcome.unreadable, task_id=task_id, using=queued.using, ended=0)
    letters.keep(queued.mails, outcome.ended, task_id=task_id, using=queued.using, ended=1)
    if outcome.answer.unsettled:
        _wait_or_give_up(task, runtime, queued, outcome, task_id)
    return outcome.number


def keep_undrained(task: Any, error: UnforeseenError) -> None:
    """Keep what the proxy is not known to have of a queued task that nobody tries again. Raises what is `TRANSIENT`."""
    runtime = get_runtime(task.app)
    task_id = task.request.id
    queued = unpack(task.request.args or (), task.request.kwargs or {}, task_id=task_id)
    kept = runtime.store.get_many([mail.message_id for mail in queued.mails])
    reasons = {
        mail.message_id: f"given up: {error}"
        for mail, delivery in zip(queued.mails, kept, strict=True)
        if delivery is None or delivery.status is Status.NEW
    }
    letters.keep(queued.mails, reasons, task_id=task_id, using=queued.using, ended=0)


def send_letter(task: Any, letter: DeadLetter) -> bool:
    """Submit a dead letter; whether the proxy has it, which ends it. Else it is kept, with what is wrong now."""
    runtime = get_runtime(task.app)
    mail = QueuedMail(message_id=letter.next_id, text=letter.content)
    outcome = _submit(runtime, [mail], using=letter.using or None, task_id=task.request.id or str(uuid4()))
    if unavailable := outcome.answer.unsettled.get(mail.message_id):
        # Without a limit: the proxy may have it, and then this id must not end otherwise.
        raise retry_later(task, unavailable) from unavailable
    if outcome.answer.accepted:
        letters.forget([letter.message_id])
        return True
    reasons = {**outcome.unreadable, **outcome.ended}
    DeadLetter.objects.filter(pk=letter.pk, ended=letter.ended).update(
        reason=redact(reasons.get(mail.message_id, "it has no recipients")),
        ended=letter.ended + len(outcome.ended),
    )
    return False


def _submit(runtime: Runtime, mails: Iterable[QueuedMail], *, using: str | None, task_id: str) -> _Outcome:
    settings, legacy, defaults = runtime.settings, CeleryEmailSettings.load(), _defaults(using)
    outgoing: list[Outgoing] = []
    entries = []
    unreadable: dict[str, str] = {}
    for mail in mails:
        try:
            message = read(mail.content)
            if not message.recipients():
                # As in Django's own backend.
                continue
            converted = convert(
                message, defaults={**defaults, "message_id": mail.message_id}, legacy=legacy, settings=settings
            )
            outgoing.append(_outgoing(converted, mail.message_id))
        except TRANSIENT:
            raise
        except InvalidMessage as exc:
            unreadable[mail.message_id] = str(exc.redacted())
        except Exception as exc:
            # Whatever it is: the mail exists nowhere else, and the others must be sent.
            unreadable[mail.message_id] = f"cannot be read: {type(exc).__name__}"
        else:
            entries.append(replace(converted.entry, message_id=mail.message_id, task_id=task_id, content_name=""))
    if log := open_log(settings):
        log.begin(entries)
    answer = SubmitAnswer()
    for start in range(0, len(outgoing), settings.chunk_size):
        answer += submitter_of(runtime).submit(outgoing[start : start + settings.chunk_size], task_id=task_id)
    return _Outcome(answer=answer, unreadable=unreadable, number=len(answer.accepted))


def _outgoing(mail: ConvertedMail, message_id: str) -> Outgoing:
    # An id of the message's own would be unknown to a redelivery that cannot read it; one is enough.
    message = replace(mail.message, message_id=message_id)
    return Outgoing(message=message, callbacks=split_callbacks(mail.arguments)[1])


def _defaults(using: str | None) -> dict[str, Any]:
    """The options of the mailer that the task names, else of the default one, where our backend is it."""
    ours = {mailer.alias: mailer.options for mailer in configured_mailers() if mailer.is_a(_OURS)}
    for alias in (using, "default"):
        if alias in ours:
            return {name: value for name, value in ours[alias].items() if name in BACKEND_OPTIONS and value is not None}
    return {}


def _wait_or_give_up(task: Any, runtime: Runtime, queued: QueuedTask, outcome: _Outcome, task_id: str) -> None:
    unsettled = outcome.answer.unsettled
    # Only these: should an old worker take the task, it sends nothing that the proxy has.
    task.request.args, task.request.kwargs = queued.arguments(frozenset(unsettled))
    reasons = {
        message_id: f"given up: {unsettled[message_id]}"
        for message_id in retry_or_give_up(
            task, runtime, unsettled, task_id=task_id, callbacks={each: {} for each in unsettled}
        )
    }
    letters.keep(queued.mails, reasons, task_id=task_id, using=queued.using, ended=1)
