"""The e-mail backend: `EMAIL_BACKEND = "celery_mailproxy.django.backends.EmailBackend"`, or as BACKEND in MAILERS."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery, current_app
from django.core.mail.backends.base import BaseEmailBackend
from django.db import DEFAULT_DB_ALIAS, transaction

from ..conf import Settings
from ..errors import InvalidMessage
from ..runtime import get_runtime
from .conversion import ConvertedMail, convert, has_log
from .options import LegacySettings, backend_defaults
from .publishing import BROKER_TROUBLE, Publication, plan, publish

if TYPE_CHECKING:
    from .migration_backend import MigrationEmailBackend

__all__ = ["EmailBackend", "MigrationEmailBackend"]

logger = logging.getLogger(__name__)

#: A chunk is cut where its mails grow larger than this: brokers do not like large messages.
_CHUNK_BYTES = 1024 * 1024

#: What Django's own `send_mail` passes on for an SMTP server. Here it has no meaning, and is kept nowhere.
_SMTP_ARGUMENTS = ("username", "password")


class EmailBackend(BaseEmailBackend):
    """Hands mails over to Celery, which submits them to the proxy.

    Options: `account_id, batch_code, priority, return_path, server, tenant_id` hold for mails whose `mail_proxy` says
    nothing else; `on_commit` (by default MAIL_PROXY_ON_COMMIT) publishes when the transaction of `database` (by default
    "default") is committed, if there is one.

    A mail that is sent alone is one task, whose id is the mail's. Several together go in tasks of
    CELERY_EMAIL_CHUNK_SIZE (10) mails, and fewer where they are large: each still has an id, callbacks and an end of
    its own, but the broker and the proxy have a tenth of the calls.
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
        tenant_id: str | None = None,
        on_commit: bool | None = None,
        database: str = DEFAULT_DB_ALIAS,
        **kwargs: Any,
    ) -> None:
        if alias is None:
            for name in _SMTP_ARGUMENTS:
                kwargs.pop(name, None)
        super().__init__(alias=alias, **kwargs)
        self.alias = alias
        self.fail_silently = fail_silently
        self.on_commit = on_commit
        self.database = database
        own = {"account_id": account_id, "batch_code": batch_code, "priority": priority, "return_path": return_path}
        self._defaults = backend_defaults({**own, "server": server, "tenant_id": tenant_id}, alias=alias)

    def send_messages(self, email_messages: Iterable[Any]) -> Any:
        """Hand the messages over; their number. Those without recipients are passed over, and not counted.

        Each gets its id as `mail_proxy_id`. Inside a transaction they are published when it is committed. With
        MAIL_PROXY_RETURN_RESULTS the answer is a list of one `AsyncResult` for each task instead.

        Raises `InvalidMessage` for what cannot be sent (`messages[3].to[0]: …`), before anything of its chunk is
        published; and where the broker is down kombu's `OperationalError`, or with `fail_silently` nothing.
        """
        app = current_app._get_current_object()
        runtime = get_runtime(app)
        settings, legacy = runtime.settings, LegacySettings.load()
        number, results = 0, []
        for chunk in self._chunks(email_messages or (), settings, legacy):
            mails = [mail for _, mail in chunk]
            publications = plan(mails)
            if not self._hand_over(publications, app, settings, legacy):
                break
            for message, mail in chunk:
                message.mail_proxy_id = mail.message_id
            number += len(chunk)
            results += [app.AsyncResult(publication.task_id) for publication in publications]
        return results if settings.return_results else number

    def _chunks(
        self, messages: Iterable[Any], settings: Settings, legacy: LegacySettings
    ) -> Iterator[list[tuple[Any, ConvertedMail]]]:
        """The messages with what becomes of them, in chunks."""
        most = min(legacy.chunk_size, settings.chunk_size)
        chunk: list[tuple[Any, ConvertedMail]] = []
        size = 0
        for index, message in enumerate(messages):
            if not message.recipients():
                continue
            mail = self._convert(index, message, settings, legacy)
            if chunk and (len(chunk) == most or size + mail.size > _CHUNK_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append((message, mail))
            size += mail.size
        if chunk:
            yield chunk

    def _convert(self, index: int, message: Any, settings: Settings, legacy: LegacySettings) -> ConvertedMail:
        try:
            return convert(message, defaults=self._defaults, legacy=legacy, settings=settings)
        except InvalidMessage as exc:
            raise type(exc)(f"messages[{index}].{exc.argument}", exc.problem) from exc

    def _hand_over(
        self, publications: list[Publication], app: Celery, settings: Settings, legacy: LegacySettings
    ) -> bool:
        """Log and publish, at once or on commit; False where that has failed silently."""
        if has_log(settings):
            from .models import EmailLog

            entries = [entry for publication in publications for entry in publication.entries]
            EmailLog.objects.begin(entries, settings=settings)
        do = partial(self._publish, publications, app, settings, legacy)
        wants_commit = settings.on_commit if self.on_commit is None else self.on_commit
        if wants_commit and transaction.get_connection(self.database).in_atomic_block:
            transaction.on_commit(do, using=self.database)
            return True
        return do()

    def _publish(
        self, publications: list[Publication], app: Celery, settings: Settings, legacy: LegacySettings
    ) -> bool:
        for done, publication in enumerate(publications):
            try:
                self._publish_one(publication, app=app, settings=settings, options=legacy.publish_options)
            except BROKER_TROUBLE as exc:
                if not self.fail_silently:
                    raise
                ids = [mail.message_id for left in publications[done:] for mail in left.mails]
                # Without its text: whatever it is, it may quote what it failed to take.
                logger.error("%d mails are not sent (%s): %s", len(ids), type(exc).__name__, ", ".join(ids))
                return False
        return True

    #: Hands a task over to the broker.
    _publish_one = staticmethod(publish)


def __getattr__(name: str) -> Any:
    # On demand: it is made of the class above.
    if name == "MigrationEmailBackend":
        from .migration_backend import MigrationEmailBackend

        return MigrationEmailBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
