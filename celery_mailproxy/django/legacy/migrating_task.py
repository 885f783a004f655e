"""The task of `MigrationEmailBackend`: sends each mail through the proxy or the project's former backend."""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from ...conf import task_names
from ...conf.settings import MigrationSettings
from ...deliveries.report import Kind
from ...errors import InvalidMessage, UnforeseenError, redact
from ...migration.legacy import LegacyAnswer
from ...migration.routing import LEGACY, PROXY
from ...migration.run import MigrationRun, RunMail
from ...runtime import Runtime, get_runtime
from ...tasks.sending.arguments import addressee_of, one_outgoing
from ...tasks.sending.base_tasks import SendTask
from ...tasks.sending.callbacks import Callbacks
from ...tasks.sending.guard import end_mails, guarded
from ...tasks.sending.outgoing import Outgoing
from ...tasks.sending.retrying import DURABLE, TIME_LIMITS, out_of_tries, retry_later
from ...tasks.sending.submitter import submitter_of
from ...tasks.sending.unforeseen import FORESEEN, unforeseen
from ..backend.kept_mails import with_references
from ..log import content
from .transport import LegacyTransport

__all__ = ["send_migrating"]

logger = logging.getLogger(__name__)


class StorageUnavailable(Exception):
    """The file storage is unavailable, whatever it raised."""


class MigratingTask(SendTask):
    """The base of the task: its mails have been checked by the backend."""

    abstract = True

    def signature(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        return super(SendTask, self).signature(args, kwargs, *rest, **options)

    def apply_async(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """As `Task.apply_async`."""
        return self._publish(args, kwargs or {}, task_id, options)

    def addressees(self, request: Any) -> dict[str, Callbacks]:
        """The mails that a run with this request sends, each with its callbacks."""
        return dict(addressee_of((), each, message_id=request.id) for each in (request.args or [()])[0])


@shared_task(
    bind=True,
    base=MigratingTask,
    name=task_names.SEND_MIGRATING,
    throws=(InvalidMessage,),
    typing=False,
    **DURABLE,
    **TIME_LIMITS,
)
def send_migrating(self: Any, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Send mails, each through the proxy or the legacy transport, as `Router` chooses; a retry keeps its mail's choice.

    Each is a dict of the arguments of `send_via_proxy`: its source as `raw`, or where that lies in the file storage,
    `content_name`. Returns `{"ids": […], "proxy": n, "legacy": n, "failed": [{"id", "reason"}]}`.
    """
    return guarded(self, lambda: _run(self, messages))


def _run(task: Any, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return _Chunk(task, messages).run()
    except StorageUnavailable as exc:
        raise retry_later(task, exc, is_lasting=True) from exc


@dataclass
class _Result:
    proxy: int = 0
    legacy: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    #: Why the run has to be repeated.
    retry: Exception | None = None


class _Chunk:
    """The mails of one run of the task."""

    def __init__(self, task: Any, messages: Sequence[Mapping[str, Any]]) -> None:
        self._task = task
        self._messages = messages
        self._runtime: Runtime = get_runtime(task.app)
        self._task_id = task.request.id or str(uuid4())
        self._run = MigrationRun(task, self._runtime, task_id=self._task_id, has_own_limit=True)
        self._result = _Result()
        #: Mails that met an unexpected error: it concerns none of the others.
        self._odd: dict[str, tuple[Callbacks, UnforeseenError]] = {}

    def run(self) -> dict[str, Any]:
        mails = self._mails()
        paths = self._run.paths([mail.in_run for mail in mails])
        fallback_ids = self._through_proxy([mail for mail in mails if paths[mail.message_id] == PROXY])
        legacy = [mail for mail in mails if paths[mail.message_id] == LEGACY or mail.message_id in fallback_ids]
        self._through_legacy(legacy, fallback_ids)
        self._settle_odd()
        result = self._result
        if result.retry is not None:
            # With the same arguments: the store knows which mails have ended.
            raise retry_later(self._task, result.retry) from result.retry
        failed = [{"id": message_id, "reason": redact(reason)} for message_id, reason in result.failed.items()]
        ids = [str(message.get("message_id")) for message in self._messages]
        return {"ids": ids, "proxy": result.proxy, "legacy": result.legacy, "failed": failed}

    def _mails(self) -> list[_Mail]:
        mails = []
        for message in self._messages:
            message_id, callbacks = addressee_of((), message, message_id=self._task_id)
            try:
                mails.append(_mail(self._runtime, message, message_id))
            except InvalidMessage as exc:
                reason = str(exc.redacted())
                known = self._runtime.store.get(message_id)
                if known is None or not known.is_ended:
                    # The source of a mail that has ended is deleted; any other mail ends here.
                    submitter_of(self._runtime).refuse(message_id, callbacks, reason, task_id=self._task_id)
                    self._result.failed[message_id] = reason
            except (*FORESEEN, StorageUnavailable):
                raise
            except Exception as exc:
                self._note_odd(message_id, callbacks, exc)
        return mails

    def _note_odd(self, message_id: str, callbacks: Callbacks, exc: Exception) -> None:
        self._odd[message_id] = (callbacks, unforeseen(exc, [message_id]))

    def _settle_odd(self) -> None:
        """Have these tried again, or end them."""
        unsettled = {message_id: error for message_id, (_, error) in self._odd.items()}
        for message_id, error in out_of_tries(self._task, self._runtime, unsettled).items():
            addressees = {message_id: self._odd.pop(message_id)[0]}
            end_mails(self._runtime, addressees, f"given up: {error}", task_id=self._task_id)
            self._result.failed[message_id] = str(error)
        for _, error in self._odd.values():
            self._result.retry = self._result.retry or error

    def _through_proxy(self, mails: Sequence[_Mail]) -> frozenset[str]:
        """Submit these; the ids of those that fall back to the legacy transport."""
        outgoing = [out for mail in mails if (out := self._for_proxy(mail)) is not None]
        if not outgoing:
            return frozenset()
        outcome = self._run.submit(outgoing)
        answer = outcome.answer
        self._result.retry = outcome.retry
        if outcome.retry is None:
            self._result.failed |= {message_id: str(error) for message_id, error in answer.unsettled.items()}
        self._result.proxy = len(answer.accepted)
        self._result.failed |= answer.rejected
        self._result.failed |= {message_id: str(error) for message_id, error in answer.failed.items()}
        return outcome.fallback_ids

    def _for_proxy(self, mail: _Mail) -> Outgoing | None:
        try:
            return mail.for_proxy(self._runtime)
        except FORESEEN:
            raise
        except Exception as exc:
            self._note_odd(mail.message_id, mail.outgoing.callbacks, exc)
            return None

    def _through_legacy(self, mails: Sequence[_Mail], fallback_ids: frozenset[str]) -> None:
        if not mails:
            return
        settings = self._runtime.settings.migration or MigrationSettings()
        for mail in mails:
            if mail.message_id in fallback_ids:
                # All of them now: where SMTP is down as well, the next run must know that they fall back.
                self._run.begin_fallback(mail.in_run)
        with closing(LegacyTransport(settings.legacy)) as transport:
            for mail in mails:
                try:
                    answer = self._run.send_legacy(mail.in_run, transport.send, is_last_try=not self._run.has_retries)
                except FORESEEN:
                    raise
                except Exception as exc:
                    # Before the mail was sent: once it is, nothing is raised.
                    self._note_odd(mail.message_id, mail.outgoing.callbacks, exc)
                    continue
                self._note(mail, answer)
                # Mails that fell back need no shadow: the proxy is known to be down.
                if answer.kind is not Kind.DEFERRED and mail.message_id not in fallback_ids:
                    self._run.shadow(mail.in_run, answer)
                if answer.kind is Kind.DEFERRED and _concerns_all(answer.error):
                    # The others would fail in the same way, one after another.
                    break

    def _note(self, mail: _Mail, answer: LegacyAnswer) -> None:
        if answer.kind is Kind.DEFERRED:
            self._result.retry = answer.error
        elif answer.kind is Kind.ERROR:
            self._result.failed[mail.message_id] = str(answer.error or "it has ended as an error before")
        else:
            self._result.legacy += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mail:
    """`arguments` hold the whole source, wherever that lies."""

    arguments: Mapping[str, Any] = field(repr=False)
    outgoing: Outgoing
    content_name: str | None

    @property
    def message_id(self) -> str:
        return self.outgoing.message.message_id

    @property
    def in_run(self) -> RunMail:
        return RunMail(message_id=self.message_id, outgoing=self.outgoing)

    def for_proxy(self, runtime: Runtime) -> Outgoing:
        if self.content_name is None:
            return self.outgoing
        referring = with_references(runtime, self.arguments, self.content_name, message_id=self.message_id)
        if referring is None:
            return self.outgoing
        return one_outgoing((), referring, settings=runtime.settings, message_id=self.message_id)


def _concerns_all(error: Exception | None) -> bool:
    """Whether the next mail would fail in the same way: the server cannot be reached, or our time is up."""
    if isinstance(error, smtplib.SMTPException):
        return isinstance(error, smtplib.SMTPConnectError | smtplib.SMTPHeloError | smtplib.SMTPAuthenticationError)
    return isinstance(error, OSError | SoftTimeLimitExceeded)


def _mail(runtime: Runtime, message: Mapping[str, Any], message_id: str) -> _Mail:
    """The mail of these arguments. Raises `InvalidMessage`, and what the file storage raises."""
    arguments = dict(message)
    content_name = arguments.pop("content_name", None)
    if content_name is not None:
        try:
            source = content.load(content_name)
        except Exception as exc:
            raise StorageUnavailable(
                f"the content of message {message_id} cannot be read: {type(exc).__name__}"
            ) from exc
        if source is None:
            raise InvalidMessage(
                "content_name", "must name a file that is there; it was deleted before the email was sent"
            )
        arguments["raw"] = source.decode()
    outgoing = one_outgoing((), arguments, settings=runtime.settings, message_id=message_id)
    return _Mail(arguments=arguments, outgoing=outgoing, content_name=content_name)
