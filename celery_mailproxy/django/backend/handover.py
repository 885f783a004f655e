"""`Handover`: planned tasks are logged and handed to the broker. What it does not take waits in the outbox, where there
is one, and ends as `error` where there is none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import Celery
from django.db import transaction

from ...conf.settings import Settings
from ...runtime import get_runtime
from ..log.opening import open_log
from .outbox import KeptPublication, keep, log_with_outbox, publish_committed
from .publishing import BROKER_ERRORS, Call, Publication, publish

if TYPE_CHECKING:
    from ..log.mail_log import MailLog

__all__ = ["Handover", "is_reentrant"]

logger = logging.getLogger(__name__)

#: Whether a mail is being published in this context, or its failure handled.
_is_publishing: ContextVar[bool] = ContextVar("celery_mailproxy.django.backend.handover", default=False)


def is_reentrant() -> bool:
    """Whether a mail is being sent from inside the handover of another: a log handler mails its failure.

    It would fail in the same way, which would be logged and mailed, and so on.
    """
    return _is_publishing.get()


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Hands tasks over, with these `options` of Celery's `apply_async`. `call_of` says which task carries the mails."""

    app: Celery
    settings: Settings
    options: Mapping[str, Any]
    call_of: Callable[..., Call]

    def at_once(self, publications: Sequence[Publication], *, is_silent: bool) -> Iterator[Publication]:
        """Log and publish now; those that are published, or will be. Raises Django's database errors, and more.

        After the first that the broker will not have, the others are given up, too: it raises what publishing raised,
        and one of `BROKER_ERRORS` is logged instead if `is_silent`.
        """
        # What is put inside a transaction of the caller's, a worker would not see.
        if (log := log_with_outbox(self.app, self.settings)) and get_runtime(self.app).store.outbox.is_open:
            kept = self._keep(publications, log)
            yield from self._publish_kept(kept, is_silent=is_silent)
            return
        self.log(publications)
        yield from self._publish_each(publications, is_silent=is_silent)

    def at_commit(self, publications: Sequence[Publication], *, using: str) -> None:
        """Log the mails now, and publish when the transaction of that database is committed.

        Nothing is raised then: what has been committed has not failed, and others' functions are to run after it.
        """
        log = open_log(self.settings)
        # Not before: in another database it would outlive a transaction that is rolled back.
        is_logged_apart = log is not None and log.alias != using
        kept = [] if is_logged_apart else self._log_or_keep(publications)

        def publish_now() -> None:
            late = self._log_late(publications) if is_logged_apart else kept
            published = self._publish_kept(late, is_silent=True) if late else self._publish_each(publications)
            for _ in published:
                pass

        transaction.on_commit(publish_now, using=using, robust=True)

    def log(self, publications: Sequence[Publication]) -> None:
        """Log the mails as new, where there is a log. Raises Django's database errors."""
        if log := open_log(self.settings):
            log.begin([entry for publication in publications for entry in publication.entries])

    def _log_or_keep(self, publications: Sequence[Publication]) -> list[KeptPublication]:
        """Log them; where there is an outbox, what is kept of them in it."""
        if log := log_with_outbox(self.app, self.settings):
            return self._keep(publications, log)
        self.log(publications)
        return []

    def _keep(self, publications: Sequence[Publication], log: MailLog) -> list[KeptPublication]:
        return keep(
            publications, log=log, app=self.app, settings=self.settings, options=self.options, call_of=self.call_of
        )

    def _publish_kept(self, kept: Sequence[KeptPublication], *, is_silent: bool) -> Iterator[Publication]:
        with _publishing():
            refused = publish_committed(kept, app=self.app, settings=self.settings)
        if refused is None:
            yield from (each.publication for each in kept)
            return
        done, problem = refused
        yield from (each.publication for each in kept[:done])
        left = [each.publication for each in kept[done:]]
        get_runtime(self.app).store.outbox.drop([each.task_id for each in left])
        is_logged = is_silent and isinstance(problem, BROKER_ERRORS)
        self._give_up(left, problem, is_logged=is_logged)
        if not is_logged:
            raise problem

    def _publish_each(self, publications: Sequence[Publication], *, is_silent: bool = True) -> Iterator[Publication]:
        """Those that were published, without an outbox."""
        for done, publication in enumerate(publications):
            try:
                # An eager task runs here and now, with all that it sends.
                with nullcontext() if self.app.conf.task_always_eager else _publishing():
                    self._publish_one(publication)
            except Exception as exc:
                is_logged = is_silent and isinstance(exc, BROKER_ERRORS)
                self._give_up(publications[done:], exc, is_logged=is_logged)
                if not is_logged:
                    raise
                return
            yield publication

    def _publish_one(self, publication: Publication) -> None:
        publish(publication, app=self.app, settings=self.settings, options=self.options, call_of=self.call_of)

    def _log_late(self, publications: Sequence[Publication]) -> list[KeptPublication]:
        """Log them after the commit; what is kept of them."""
        try:
            return self._log_or_keep(publications)
        except Exception as exc:
            # The mail matters more, and its worker logs it. Not the error's text: it may quote a row.
            number = sum(len(publication.mails) for publication in publications)
            logger.error("%d emails are not logged yet: %s", number, type(exc).__name__)
        return []

    def _give_up(self, publications: Sequence[Publication], problem: Exception, *, is_logged: bool) -> None:
        task_ids = {mail.message_id: each.task_id for each in publications for mail in each.mails}
        with _publishing():
            if log := open_log(self.settings):
                log.end_unpublished(task_ids, problem, runtime=get_runtime(self.app))
            if is_logged:
                # Not its text, which may quote the mail.
                logger.error(
                    "%d emails are not sent (%s): %s", len(task_ids), type(problem).__name__, ", ".join(task_ids)
                )


@contextmanager
def _publishing() -> Iterator[None]:
    token = _is_publishing.set(True)
    try:
        yield
    finally:
        _is_publishing.reset(token)
