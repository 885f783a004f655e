"""The e-mail backend: `EMAIL_BACKEND = "celery_mailproxy.django.backends.EmailBackend"`, or as BACKEND in MAILERS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from celery import current_app
from django.core.mail.backends.base import BaseEmailBackend
from django.db import DEFAULT_DB_ALIAS, transaction

from ..runtime import get_runtime
from ..tasks.failing import is_set_off_by_failure
from .backend.celery_email import CeleryEmailSettings
from .backend.chunks import in_chunks
from .backend.conversion import ConvertedMail
from .backend.handover import Handover, is_reentrant
from .backend.options import backend_defaults, check_backend, check_known
from .backend.publishing import Publication, plan, proxy_call
from .legacy.publishing import migrating_call
from .log.off_loop import off_loop
from .log.opening import has_log

__all__ = ["EmailBackend", "MigrationEmailBackend"]

#: What Django's own `send_mail` passes on for an SMTP server. Here it has no meaning, and is kept nowhere.
_LOGIN_ARGUMENTS = ("username", "password")


class EmailBackend(BaseEmailBackend):
    """Hands mails over to Celery, which submits them to the proxy.

    Options: `account_id, batch_code, priority, return_path, server, tags, tenant_id` hold for mails whose `mail_proxy`
    says nothing else; `on_commit` (by default MAIL_PROXY_ON_COMMIT) publishes when the transaction of `database` (by
    default "default") is committed, if there is one.

    A mail that is sent alone is one task, whose id is the mail's. Several together go in tasks of
    CELERY_EMAIL_CHUNK_SIZE (10) mails, and fewer where they are large: each still has an id, callbacks and an end of
    its own, but the broker and the proxy have a tenth of the calls.

    Raises `ImproperlyConfigured`, in Django 6.1 `InvalidMailer`, for any other argument: one that names an SMTP server
    would not be followed, and the mail would leave by another.
    """

    def __init__(
        self,
        fail_silently: bool = False,
        *,
        alias: str | None = None,
        account_id: str | None = None,
        batch_code: str | None = None,
        priority: int | str | None = None,
        return_path: str | None = None,
        server: str | None = None,
        tags: Sequence[str] | None = None,
        tenant_id: str | None = None,
        on_commit: bool | None = None,
        database: str = DEFAULT_DB_ALIAS,
        **kwargs: Any,
    ) -> None:
        if alias is None:
            for name in _LOGIN_ARGUMENTS:
                kwargs.pop(name, None)
            check_known(kwargs, alias=None)
            kwargs = {}
        # From Django 6.1 on it refuses the unknown ones of MAILERS.
        super().__init__(alias=alias, **kwargs)
        check_known(kwargs, alias=alias)
        self.alias = alias
        self.fail_silently = fail_silently
        self.on_commit = on_commit
        self.database = database
        check_backend(on_commit=on_commit, database=database, server=server, alias=alias)
        own = {"account_id": account_id, "batch_code": batch_code, "priority": priority, "return_path": return_path}
        self._defaults = backend_defaults({**own, "server": server, "tags": tags, "tenant_id": tenant_id}, alias=alias)

    def send_messages(self, email_messages: Iterable[Any]) -> Any:
        """Hand the messages over; their number. Those without recipients are passed over, and not counted.

        Each that is handed over gets its id as `mail_proxy_id`. Inside a transaction they are published when it is
        committed. With MAIL_PROXY_RETURN_RESULTS the answer is a list of one `AsyncResult` for each task instead.

        Raises `InvalidMessage` for what cannot be sent (`messages[3].to[0]: …`), before anything of its chunk is
        published. With the outbox (`mail_proxy_outbox`) mails that the broker does not take wait in it, and count.
        Without it a broker that is down raises kombu's `OperationalError`, or with `fail_silently` nothing; what it did
        not take is an `error` in the log. Nothing is raised at a commit, where it would keep the callers' other
        functions from running: then it is logged, too.
        """
        app = current_app._get_current_object()
        settings = get_runtime(app).settings
        if is_reentrant() or is_set_off_by_failure():
            return [] if settings.return_results else 0
        legacy = CeleryEmailSettings.load()
        handover = Handover(app=app, settings=settings, options=legacy.publish_options, call_of=self._call_of)
        chunks = in_chunks(email_messages or (), defaults=self._defaults, legacy=legacy, settings=settings)
        send = partial(self._send, chunks, handover)
        sent = off_loop(send) if has_log(settings) else send()
        if settings.return_results:
            return [app.AsyncResult(publication.task_id) for publication in sent]
        return sum(len(publication.mails) for publication in sent)

    def _send(self, chunks: Iterable[list[tuple[Any, ConvertedMail]]], handover: Handover) -> list[Publication]:
        """What was handed over, up to where that has failed silently."""
        sent: list[Publication] = []
        for chunk in chunks:
            by_id = {mail.message_id: message for message, mail in chunk}
            publications = plan([mail for _, mail in chunk])
            done = 0
            for publication in self._hand_over(publications, handover):
                for mail in publication.mails:
                    by_id[mail.message_id].mail_proxy_id = mail.message_id
                sent.append(publication)
                done += 1
            if done < len(publications):
                break
        return sent

    def _hand_over(self, publications: list[Publication], handover: Handover) -> Iterator[Publication]:
        """Log and publish, at once or on commit; those that are, or will be, published, as far as is known."""
        wants_commit = handover.settings.on_commit if self.on_commit is None else self.on_commit
        if wants_commit and transaction.get_connection(self.database).in_atomic_block:
            handover.at_commit(publications, using=self.database)
            yield from publications
        else:
            yield from handover.at_once(publications, is_silent=self.fail_silently)

    #: Which task carries the mails.
    _call_of = staticmethod(proxy_call)


class MigrationEmailBackend(EmailBackend):
    """As `EmailBackend`, with the same options; a worker sends each mail through the transport that `Router` chooses.

    The legacy transport is the backend that `MAIL_PROXY_MIGRATION["legacy"]` names. Its mails have the same signals and
    callbacks; their `report.via` is "legacy".
    """

    _call_of = staticmethod(migrating_call)
