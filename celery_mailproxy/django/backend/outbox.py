"""Mails in the outbox: rows of the caller's transaction, whose tasks are published when it is committed, or later.

Where the broker is away they stay, and the relay publishes them (see `maintenance`). The content of a mail is in the
row, or where it is large in the file storage, until a worker has given it to the proxy.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from celery import Celery

from ...conf.settings import Settings
from ...deliveries.report import utcnow
from ...deliveries.stores.outbox import OutboxEntry
from ...errors import MailProxyError
from ...runtime import Runtime, get_runtime
from ...tasks.sending.outbox import entry_of, is_passing, publish_kept, read_content
from ..log import content
from ..log.opening import open_log
from .conversion import ConvertedMail
from .publishing import Call, Publication

if TYPE_CHECKING:
    from ..log.mail_log import MailLog

__all__ = ["KeptPublication", "keep", "log_with_outbox", "publish_committed"]

logger = logging.getLogger(__name__)

#: After a failure the broker is left alone for so long: a request must not wait for it at each of its mails.
_REST_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPublication:
    """A task to be published, with its message as the outbox has it."""

    publication: Publication
    entry: OutboxEntry = field(repr=False)


def log_with_outbox(app: Celery, settings: Settings) -> MailLog | None:
    """The log, where the backend's mails go through the outbox beside it: by default where there is a log."""
    return None if settings.outbox is False or app.conf.task_always_eager else open_log(settings)


def keep(
    publications: Sequence[Publication],
    *,
    log: MailLog,
    app: Celery,
    settings: Settings,
    options: Mapping[str, Any],
    call_of: Callable[..., Call],
) -> list[KeptPublication]:
    """Log the mails as new and keep their tasks' messages, in the caller's transaction: all of it or nothing.

    Raises Django's database errors, and what the file storage raises. Files that were written are deleted
    then; of a transaction that is undone later, `log.orphans` finds them.
    """
    with ExitStack() as undoing:
        stored = [_stored(each, undoing) for each in publications]
        kept = [_kept(each, app=app, settings=settings, options=options, call_of=call_of) for each in stored]
        log.begin([entry for each in stored for entry in each.entries], messages=[each.entry for each in kept])
        undoing.pop_all()
    return kept


def publish_committed(
    kept: Sequence[KeptPublication], *, app: Celery, settings: Settings
) -> tuple[int, Exception] | None:
    """Publish what is committed. What the broker does not take now stays in the outbox. Never raises.

    The answer is the index of the first that the broker will never take, and why; it and those after it are the
    caller's to end.
    """
    runtime = get_runtime(app)
    rest = runtime.part(_Rest)
    for done, each in enumerate(kept):
        if rest.lasts:
            _leave(runtime, kept[done:])
            break
        try:
            message = read_content(each.entry.content)
            publish_kept(runtime, message, copy=0, prepares_result=settings.return_results)
        except Exception as exc:
            if not is_passing(exc):
                return done, exc
            rest.begin()
            number = sum(len(left.publication.mails) for left in kept[done:])
            # Not its text, which may quote the mail.
            what = f"{number} email{' waits' if number == 1 else 's wait'} in the outbox"
            logger.warning("%s: the broker did not accept the task (%s)", what, type(exc).__name__)
            _leave(runtime, kept[done:])
            break
    return None


class _Rest:
    """How long this process leaves the broker alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._until = 0.0

    @property
    def lasts(self) -> bool:
        return time.monotonic() < self._until

    def begin(self) -> None:
        self._until = time.monotonic() + _REST_SECONDS


def _leave(runtime: Runtime, kept: Sequence[KeptPublication]) -> None:
    """Leave these to the relay, which takes them at its next round."""
    try:
        runtime.store.outbox.reschedule([each.entry for each in kept], due_at=utcnow())
    except MailProxyError as exc:
        # They are due a bit later.
        logger.debug("the outbox was not told that its emails are due: %s", exc)


def _stored(publication: Publication, undoing: ExitStack) -> Publication:
    """The publication with the sources of its large mails in the file storage."""
    return replace(publication, mails=tuple(_stored_mail(mail, undoing) for mail in publication.mails))


def _stored_mail(mail: ConvertedMail, undoing: ExitStack) -> ConvertedMail:
    if not mail.is_kept:
        return mail
    # The storage may choose another name than it is asked for.
    name = content.keep(mail.content_name, mail.source)
    undoing.callback(content.discard, [name])
    return replace(mail, content_name=name, source=b"", entry=replace(mail.entry, content_name=name))


def _kept(
    publication: Publication,
    *,
    app: Celery,
    settings: Settings,
    options: Mapping[str, Any],
    call_of: Callable[..., Call],
) -> KeptPublication:
    names = [{"content_name": mail.content_name} if mail.is_kept else {} for mail in publication.mails]
    arguments = [{**mail.arguments, **name} for mail, name in zip(publication.mails, names, strict=True)]
    call = call_of(publication, arguments, app=app)
    seconds = settings.outbox_seconds
    options = {**call.task.hidden_arguments, **options}
    entry = entry_of(call.task, call.args, call.kwargs, task_id=call.task_id, options=options, seconds=seconds)
    return KeptPublication(publication=publication, entry=entry)
