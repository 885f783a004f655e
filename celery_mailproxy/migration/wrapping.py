"""`migrate`: an existing mail task sends a share of its calls through the proxy; the others report as it does."""

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
from ..mail.message import MailMessage
from ..runtime import Runtime, get_runtime
from ..tasks.sending.arguments import dump_arguments, one_outgoing
from ..tasks.sending.guard import guarded
from ..tasks.sending.outgoing import Outgoing
from ..tasks.sending.retrying import retry_later
from .routing import LEGACY, PROXY, Path
from .run import MigrationRun, RunMail
from .shadow import shadow_failed

__all__ = ["migrate"]

logger = logging.getLogger(__name__)

ToMessage = Callable[..., Mapping[str, Any] | None]


def migrate(task: Any, *, to_message: ToMessage, share: float | None = None) -> Any:
    """Let the task send its share of the calls through the proxy; the same task, its name and arguments unchanged.

    `to_message` takes the task's arguments (without `self`) and returns those of `send_via_proxy` as a dict, callbacks
    among them; or None for a call that sends no mail, which then is none of ours. `share` holds where operators have
    set none; by default it is that of `mail_proxy_migration`.

    Which transport a call takes is decided in the worker when it runs, and holds for its retries. Through the proxy the
    message id is the task's id, and the result that of `send_via_proxy`. Else the task's own body runs; its end is
    dispatched as `sent`, what it raises as `error`, and a retry as `deferred`, with `via="legacy"`. A call for which
    `to_message` raises runs the body. Where the call is revoked or expires between two tries, its mail ends as `error`;
    of one that is killed in the midst of a try nothing is dispatched.

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
    task.apply_async = _confirmed(task)
    task.message_ids = _message_ids
    return task


def _confirmed(task: Any) -> Callable[..., Any]:
    """`task.apply_async`, which returns once the broker has the call: it is a mail from now on."""
    original = task.apply_async

    @functools.wraps(original)
    def apply_async(
        args: Any = None, kwargs: Any = None, task_id: str | None = None, producer: Any = None, **options: Any
    ) -> Any:
        with get_runtime(task.app).producers.confirmed({**options, "producer": producer}) as confirmed:
            return original(args, kwargs, task_id, **confirmed)

    return apply_async


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
        logger.error(
            "message %s cannot be made for the proxy, it is sent through the legacy transport: %s", task_id, problem
        )
        shadow_failed(runtime, task_id, exc)
        return None


class _Call:
    """One call of a migrated task."""

    def __init__(
        self, task: Any, runtime: Runtime, task_id: str, outgoing: Outgoing | None, body: Callable[[], Any]
    ) -> None:
        self._task = task
        # The task's own `max_retries` was meant for an SMTP server: here it would give a mail up within seconds.
        self._run = MigrationRun(task, runtime, task_id=task_id, has_own_limit=False)
        message_id = task_id if outgoing is None else outgoing.message.message_id
        self._mail = RunMail(message_id=message_id, outgoing=outgoing)
        self._body = body

    def run(self, share: float | None) -> Any:
        # What the body does is the application's own: it is not guarded.
        path, result = self._guarded(lambda: self._begin(share))
        if result is not None:
            return result
        return self._through_legacy(with_shadow=path != PROXY)

    def _guarded(self, run: Callable[[], Any]) -> Any:
        outgoing = self._mail.outgoing
        addressees = {self._mail.message_id: {} if outgoing is None else outgoing.callbacks}
        return guarded(self._task, run, addressees=addressees, has_own_limit=False)

    def _begin(self, share: float | None) -> tuple[Path, dict[str, Any] | None]:
        """The path, and the result of a mail that the proxy has; without one it is the legacy transport's to send."""
        path = self._run.paths([self._mail], share=share)[self._mail.message_id]
        if path != PROXY or self._mail.outgoing is None:
            return LEGACY, None
        return PROXY, self._through_proxy(self._mail.outgoing)

    def _through_proxy(self, outgoing: Outgoing) -> dict[str, Any] | None:
        """The result; None where the mail falls back to the legacy transport."""
        message_id = self._mail.message_id
        outcome = self._run.submit([outgoing])
        if message_id in outcome.fallback_ids:
            return None
        if outcome.retry is not None:
            raise retry_later(self._task, outcome.retry) from outcome.retry
        if message_id in outcome.given_up:
            raise outcome.answer.unsettled[message_id]
        outcome.answer.raise_for(message_id)
        return {"id": message_id, "queued": 1, "rejected": []}

    def _through_legacy(self, *, with_shadow: bool) -> Any:
        begun = False

        def transport(message: MailMessage | None) -> Any:
            nonlocal begun
            outgoing = self._mail.outgoing
            if message is not None and outgoing is not None and message.recipients != outgoing.message.recipients:
                # The body knows nothing of it, and would send to those that the mail is for.
                raise InvalidMessage("to", "must not be changed on its way to a migrated task's own body")
            begun = True
            return self._body()

        try:
            # What it raises ends the mail; a body that wants another try raises `Retry`.
            answer = self._run.send_legacy(self._mail, transport, is_last_try=True)
        except Exception as exc:
            if begun:
                raise
            return self._guarded(functools.partial(_raise, exc))
        if answer.error is not None:
            raise answer.error
        if not answer.is_news and answer.kind is Kind.ERROR:
            raise DeliveryError("it has ended as an error before", None, self._mail.message_id)
        # A mail that fell back needs no shadow: the proxy is known to be down.
        if with_shadow:
            self._run.shadow(self._mail, answer)
        return answer.value


def _raise(error: Exception) -> None:
    raise error
