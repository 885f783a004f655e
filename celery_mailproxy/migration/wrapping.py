"""`migrate`: an existing mail task sends by the proxy for a share of its calls, and tells of the others as it does."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from celery import Task

from ..conf.migration import share as read_share
from ..deliveries.report import Kind
from ..errors import ConfigurationError, DeliveryError, InvalidMessage, redact
from ..runtime import Runtime, get_runtime
from ..tasks.sending.arguments import dump_arguments, one_outgoing
from ..tasks.sending.outgoing import Outgoing
from ..tasks.sending.retrying import RETRYABLE, retry_later
from ..tasks.sending.submitter import submitter_of
from .legacy import send_legacy
from .routing import LEGACY, PROXY, get_router, pinned_path
from .shadow import shadow, shadow_failed
from .submitting import submit

__all__ = ["migrate"]

logger = logging.getLogger(__name__)

ToMessage = Callable[..., Mapping[str, Any] | None]


def migrate(task: Any, *, to_message: ToMessage, share: float | None = None) -> Any:
    """Let the task send by the proxy for its share of the calls; the same task, its name and arguments unchanged.

    `to_message` takes the task's arguments (without `self`) and returns those of `send_via_proxy` as a dict, callbacks
    among them; or None for a call that sends no mail, which then is none of ours. `share` holds where operators have
    set none; by default it is that of `mail_proxy_migration`.

    Which way a call goes is decided in the worker when it runs, and holds for its retries. By the proxy the message id
    is the task's id, and the result that of `send_via_proxy`. Else the task's own body runs, and its end is told as
    `sent`, what it raises as `error`, and a retry as `deferred`, with `via="legacy"`. A call for which `to_message`
    raises runs the body. Where the call is revoked or expires between two tries, its mail ends as `error`; of one that
    is killed in the midst of a try nothing is told.

        send_receipt = migrate(send_receipt, to_message=lambda order_id: receipt(order_id), share=0.25)
    """
    _check(task, to_message)
    share = None if share is None else read_share("share", share)
    original = task.run

    @functools.wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        body = functools.partial(original, *args, **kwargs)
        runtime = get_runtime(task.app)
        task_id = task.request.id or str(uuid4())
        try:
            outgoing = _outgoing(runtime, functools.partial(to_message, *args, **kwargs), task_id)
        except _NoMail:
            return body()
        except ConfigurationError as exc:
            raise retry_later(task, exc) from exc
        return _Call(task, runtime, task_id, outgoing, body).run(share)

    run.is_migrated = True  # type: ignore[attr-defined]
    # For people who look at the shares.
    run.share = share  # type: ignore[attr-defined]
    task.run = run
    task.message_ids = _message_ids
    return task


def _message_ids(request: Any) -> list[str]:
    return [request.id]


def _check(task: Any, to_message: Any) -> None:
    if not isinstance(task, Task):
        raise ConfigurationError(
            f"migrate must be given a task: what @app.task or app.register_task(…) returns, got {task!r}."
        )
    if task.app.main == "default":
        # A shared task would be wrapped in Celery's own app, which no worker runs.
        raise ConfigurationError(
            f"task {task.name} has no app yet: make your Celery app before the module that calls migrate is imported."
        )
    if not callable(to_message):
        raise ConfigurationError(
            f"to_message must be a function that returns the arguments of send_via_proxy, got {to_message!r}."
        )
    if getattr(task.run, "is_migrated", False):
        raise ConfigurationError(f"task {task.name} must be migrated once only: remove the second migrate(…).")


class _NoMail(Exception):
    """The call sends no mail."""


def _outgoing(runtime: Runtime, to_message: Callable[[], Any], task_id: str) -> Outgoing | None:
    """The call's mail as the proxy would get it; None where it cannot be made. Raises `_NoMail`."""
    try:
        arguments = to_message()
        if arguments is None:
            raise _NoMail
        if not isinstance(arguments, Mapping):
            raise InvalidMessage("to_message", f"must return a dict or None, got {type(arguments).__name__}")
        plain = dump_arguments(arguments)
        return one_outgoing((), plain, settings=runtime.settings, message_id=task_id)
    except (_NoMail, ConfigurationError):
        raise
    except Exception as exc:
        problem = str(exc.redacted()) if isinstance(exc, InvalidMessage) else redact(f"{type(exc).__name__}: {exc}")
        logger.error("message %s cannot be made for the proxy, it goes the legacy way: %s", task_id, problem)
        shadow_failed(runtime, task_id, exc)
        return None


class _Call:
    """One call of a migrated task."""

    def __init__(
        self, task: Any, runtime: Runtime, task_id: str, outgoing: Outgoing | None, body: Callable[[], Any]
    ) -> None:
        self._task = task
        self._runtime = runtime
        self._task_id = task_id
        self._outgoing = outgoing
        self._body = body

    @property
    def _message_id(self) -> str:
        return self._task_id if self._outgoing is None else self._outgoing.message.message_id

    def run(self, share: float | None) -> Any:
        is_spared = False
        try:
            path = self._path(share)
            if path == PROXY and self._outgoing is not None:
                result = self._by_proxy(self._outgoing)
                if result is not None:
                    return result
                is_spared = True
        except RETRYABLE as exc:
            raise retry_later(self._task, exc) from exc
        # What the proxy cannot be reached for needs no shadow.
        return self._by_legacy(with_shadow=not is_spared)

    def _path(self, share: float | None) -> str:
        pinned = pinned_path(self._runtime.store.get(self._message_id))
        if pinned is not None:
            return pinned
        if self._outgoing is None:
            return LEGACY
        return get_router(self._task.app).path_for(self._outgoing.message, share=share)

    def _by_proxy(self, outgoing: Outgoing) -> dict[str, Any] | None:
        """The result; None where the mail is to go the legacy way after all."""
        submission = submit(self._runtime, [outgoing], task_id=self._task_id)
        message_id = outgoing.message.message_id
        if message_id in submission.spared:
            return None
        answer = submission.answer
        if unavailable := answer.unsettled.get(message_id):
            if self._may_retry:
                raise retry_later(self._task, unavailable) from unavailable
            reason = f"given up: {unavailable}"
            if submitter_of(self._runtime).give_up([message_id], reason, task_id=self._task_id):
                raise unavailable
        answer.raise_for(message_id)
        return {"id": message_id, "queued": 1, "rejected": []}

    @property
    def _may_retry(self) -> bool:
        # The task's own `max_retries` was meant for an SMTP server: here it would give a mail up within seconds.
        request = self._task.request
        is_in_worker = not (request.called_directly or request.is_eager)
        return is_in_worker and request.retries < self._runtime.settings.max_retries

    def _by_legacy(self, *, with_shadow: bool) -> Any:
        begun = False

        def transport() -> Any:
            nonlocal begun
            begun = True
            return self._body()

        try:
            answer = send_legacy(
                self._runtime,
                message_id=self._message_id,
                task_id=self._task_id,
                transport=transport,
                outgoing=self._outgoing,
                # It ends with what it raises: who wants another try raises `Retry`.
                is_last_try=True,
            )
        except RETRYABLE as exc:
            if begun:
                raise
            raise retry_later(self._task, exc) from exc
        if answer.error is not None:
            raise answer.error
        if not answer.is_news and answer.kind is Kind.ERROR:
            raise DeliveryError("it has ended as an error before", None, self._message_id)
        if with_shadow and answer.is_news and self._outgoing is not None:
            shadow(self._runtime, self._outgoing)
        return answer.value
