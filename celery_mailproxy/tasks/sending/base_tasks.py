"""The base classes of the sending tasks: arguments are checked in the caller, and stay out of Celery's logs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from celery import states
from celery.result import EagerResult, GroupResult

from ...conf import task_names
from ...deliveries.stores.outbox import OutboxEntry
from ...dispatch.resumer import OUTBOX_HEADER
from ...errors import InvalidMessage, MailProxyError
from ...mail.payload import check_expressible
from ...runtime import get_runtime
from ..confirmed_task import ConfirmedTask
from ..failing import is_set_off_by_failure
from .arguments import Arguments, addressee_of, checked, dump_arguments, dump_many, messages_of, one_outgoing
from .callbacks import Callbacks
from .outbox import is_passing
from .outbox_runs import begin_run, keep_for_retry, keep_published

__all__ = ["SendManyTask", "SendTask", "hide_arguments"]

logger = logging.getLogger(__name__)

#: The tasks whose arguments are mails.
_MAIL_TASKS = (task_names.SEND, task_names.SEND_MANY, task_names.DELIVER, task_names.DELIVER_FROM_CHUNK)

#: What Celery shows in place of the arguments: it puts their repr into headers, its debug log and its events.
_HIDDEN = {"argsrepr": "(…)", "kwargsrepr": "{…}"}


class _MailTask(ConfirmedTask):
    """What the sending tasks share: the mail stays out of Celery's logs."""

    abstract = True

    #: Options of `apply_async` that keep the arguments' repr out of headers, logs and events.
    hidden_arguments = _HIDDEN

    def message_ids(self, request: Any) -> list[str]:
        """The ids of the mails that a run with this request sends."""
        return list(self.addressees(request))

    def addressees(self, request: Any) -> dict[str, Callbacks]:
        """The same, each with the callbacks of its mail, as far as they can be read."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        begin_run(self)
        # Not `super()`: outside a worker (eager) it pushes a request of its own, without the task's id.
        return self.run(*args, **kwargs)

    def _publish(self, args: Any, kwargs: Arguments, task_id: str | None, options: dict[str, Any]) -> Any:
        """Publish the task; with the outbox, keep it first, and leave it to the relay where the broker is away.

        What the failure of a task of ours sets off is not published: its result is then `REVOKED`.
        """
        if not self._is_published_by_celery(options) and is_set_off_by_failure():
            return EagerResult(task_id or str(uuid4()), None, states.REVOKED)
        options = {**options, **{name: hidden for name, hidden in _HIDDEN.items() if name not in options}}
        if options.get("retries"):
            keep_for_retry(self, options)
            return super().apply_async(args, kwargs, task_id=task_id, **options)
        entry = self._keep(args, kwargs, task_id, options)
        if entry is None:
            return super().apply_async(args, kwargs, task_id=task_id, **options)
        headers = {**(options.get("headers") or {}), OUTBOX_HEADER: 0}
        try:
            return super().apply_async(args, kwargs, task_id=entry.task_id, **{**options, "headers": headers})
        except Exception as exc:
            if not is_passing(exc):
                # The caller learns of it: nobody else is to try.
                get_runtime(self.app).store.outbox.drop([entry.task_id])
                raise
            logger.warning(
                "task %s waits in the outbox: the broker did not take it (%s)", entry.task_id, type(exc).__name__
            )
            return self.AsyncResult(entry.task_id)

    def _keep(self, args: Any, kwargs: Arguments, task_id: str | None, options: dict[str, Any]) -> OutboxEntry | None:
        try:
            return keep_published(self, args, kwargs, task_id, options)
        except MailProxyError as exc:
            if not self._is_published_by_celery(options):
                raise
            logger.warning("task %s is published without the outbox: %s", task_id, exc)
            return None

    @staticmethod
    def _is_published_by_celery(options: Mapping[str, Any]) -> bool:
        """True for a retry, and for what a finished task publishes: the next of a chain, a link.

        An error raised there would hit the task before, whose result Celery would then not store; the worker that
        runs this one will find the same error.
        """
        return "parent_id" in options or bool(options.get("retries"))


def hide_arguments(sender: Any, headers: Any, **kwargs: Any) -> None:
    """The same for a mail that is published by name: `app.send_task("celery_mailproxy.send_via_proxy", …)`."""
    if sender in _MAIL_TASKS and isinstance(headers, dict):
        headers.update({name: hidden for name, hidden in _HIDDEN.items() if name in headers})


class SendTask(_MailTask):
    """The base of tasks that take the arguments of one mail."""

    abstract = True

    #: Keyword arguments of the task itself, which are none of its mail's.
    own_arguments: tuple[str, ...] = ("per_recipient",)

    #: Celery logs the beginning of a result, and puts it into events. Of these all but the bracket may hold addresses:
    #: recipients, and reasons that quote one.
    resultrepr_maxsize = 1

    def signature(self, args: Any = None, kwargs: Arguments | None = None, *rest: Any, **options: Any) -> Any:
        # A signature inside a canvas is serialised by Celery as it stands: make its arguments plain now.
        mail, own = self._split(kwargs)
        return super().signature(args, {**dump_arguments(mail), **own}, *rest, **options)

    def apply_async(
        self, args: Any = None, kwargs: Arguments | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """As `Task.apply_async`. Raises `InvalidMessage` for arguments that cannot be sent."""
        if self._is_published_by_celery(options):
            return self._publish(args, kwargs or {}, task_id, options)
        _refuse_misplaced(options)
        mail, own = self._split(kwargs)
        plain = dump_arguments(mail)
        settings = get_runtime(self.app).settings
        outgoing = one_outgoing(
            args or (),
            plain,
            settings=settings,
            message_id=task_id or str(uuid4()),
            per_recipient=own.get("per_recipient", False),
        )
        # The caller is who can still change the mail.
        check_expressible(outgoing.message)
        return self._publish(args, {**plain, **own}, task_id, options)

    def addressees(self, request: Any) -> dict[str, Callbacks]:
        message_id, callbacks = addressee_of(request.args or (), request.kwargs or {}, message_id=request.id)
        return {message_id: callbacks}

    def _split(self, kwargs: Arguments | None) -> tuple[dict[str, Any], dict[str, Any]]:
        mail = dict(kwargs or {})
        return mail, {name: mail.pop(name) for name in self.own_arguments if name in mail}


class SendManyTask(_MailTask):
    """The base of the task that takes a list of mails; called directly, it is one task for each chunk."""

    abstract = True

    def signature(self, args: Any = None, kwargs: Arguments | None = None, *rest: Any, **options: Any) -> Any:
        args, kwargs = dump_many(args, kwargs)
        return super().signature(args, kwargs, *rest, **options)

    def apply_async(
        self, args: Any = None, kwargs: Arguments | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """A `GroupResult` with one result for each chunk; within a canvas the one task's `AsyncResult`.

        Raises `InvalidMessage` for the first message that cannot be sent, as `messages[3].to`; nothing is published
        then.
        """
        if self._is_published_by_celery(options):
            return self._publish(args, kwargs or {}, task_id, options)
        _refuse_misplaced(options)
        args, plain = dump_many(args, kwargs)
        messages, common = messages_of(args, plain)
        settings = get_runtime(self.app).settings
        group_id = task_id or str(uuid4())
        messages = checked(messages, common, settings, group_id)
        if any(options.get(name) for name in _CANVAS_OPTIONS):
            return self._publish((messages,), common, group_id, options)
        size = settings.chunk_size
        results = [
            self._publish((messages[start : start + size],), common, f"{group_id}-{start // size}", options)
            for start in range(0, len(messages), size)
        ]
        return GroupResult(group_id, results, app=self.app)

    def addressees(self, request: Any) -> dict[str, Callbacks]:
        common = dict(request.kwargs or {})
        messages = request.args[0] if request.args else common.pop("messages", ())
        return dict(
            addressee_of((message,), common, message_id=f"{request.id}-{index}")
            for index, message in enumerate(messages)
        )


#: Options by which a canvas awaits one task: several would each go on with the rest.
_CANVAS_OPTIONS = ("group_id", "chord", "chain", "link", "link_error")

#: Arguments of a mail that are no options of Celery's: a caller who passes one to `apply_async` meant `kwargs`.
_NEVER_OPTIONS = ("to", "cc", "bcc", "subject", "body", "html_body", "from_email", "message_id", "on_sent", "on_error")


def _refuse_misplaced(options: Mapping[str, Any]) -> None:
    for name in _NEVER_OPTIONS:
        if name in options:
            raise InvalidMessage(name, f"belongs in kwargs; write .apply_async(kwargs={{'{name}': …}}) or .delay(…)")
