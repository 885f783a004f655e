"""`Handover`: planned tasks are logged and handed to the broker; what it does not take ends as `error`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from celery import Celery
from django.db import Error, transaction

from ...conf.settings import Settings
from ...runtime import get_runtime
from ..log.opening import open_log
from .publishing import BROKER_ERRORS, Publication

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
    """Hands tasks over by `publish`, with these `options` of Celery's `apply_async`."""

    app: Celery
    settings: Settings
    options: Mapping[str, Any]
    publish: Callable[..., None]

    def log(self, publications: Sequence[Publication]) -> None:
        """Log the mails as new, where there is a log. Raises Django's database errors."""
        if log := open_log(self.settings):
            log.begin([entry for publication in publications for entry in publication.entries])

    def publish_each(self, publications: Sequence[Publication], *, is_silent: bool) -> Iterator[Publication]:
        """Those that were published. After the first that was not, the others are given up, too.

        Raises what `publish` does; one of `BROKER_ERRORS` is logged instead if `is_silent`.
        """
        for done, publication in enumerate(publications):
            try:
                # An eager task runs here and now, with all that it sends.
                with nullcontext() if self.app.conf.task_always_eager else _publishing():
                    self.publish(publication, app=self.app, settings=self.settings, options=self.options)
            except Exception as exc:
                is_logged = is_silent and isinstance(exc, BROKER_ERRORS)
                self._give_up(publications[done:], exc, is_logged=is_logged)
                if not is_logged:
                    raise
                return
            yield publication

    def at_commit(self, publications: Sequence[Publication], *, using: str) -> None:
        """Log the mails now, and publish when the transaction of that database is committed.

        Nothing is raised then: what has been committed has not failed, and others' functions are to run after it.
        """
        log = open_log(self.settings)
        is_logged_apart = log is not None and log.alias != using
        if not is_logged_apart:
            self.log(publications)

        def publish_committed() -> None:
            if is_logged_apart:
                # Not before: in another database it would outlive a transaction that is rolled back.
                self._log_late(publications)
            for _ in self.publish_each(publications, is_silent=True):
                pass

        transaction.on_commit(publish_committed, using=using, robust=True)

    def _log_late(self, publications: Sequence[Publication]) -> None:
        try:
            self.log(publications)
        except Error as exc:
            # The mail matters more, and its worker logs it. Not the error's text: it may quote a row.
            number = sum(len(publication.mails) for publication in publications)
            logger.error("%d mails are not logged yet: %s", number, type(exc).__name__)

    def _give_up(self, publications: Sequence[Publication], problem: Exception, *, is_logged: bool) -> None:
        task_ids = {mail.message_id: each.task_id for each in publications for mail in each.mails}
        with _publishing():
            if log := open_log(self.settings):
                log.end_unpublished(task_ids, problem, runtime=get_runtime(self.app))
            if is_logged:
                # Not its text, which may quote the mail.
                logger.error(
                    "%d mails are not sent (%s): %s", len(task_ids), type(problem).__name__, ", ".join(task_ids)
                )


@contextmanager
def _publishing() -> Iterator[None]:
    token = _is_publishing.set(True)
    try:
        yield
    finally:
        _is_publishing.reset(token)
