"""The Celery tasks: sending, dispatching of reports, pruning of the store."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from celery import shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.signals import celeryd_init, task_revoked
from celery.utils.time import get_exponential_backoff_interval
from kombu.exceptions import OperationalError

from . import janitor
from .collecting import CollectTask
from .errors import (
    ConfigurationError,
    DeliveryError,
    InvalidMessage,
    InvalidReport,
    MessageRejected,
    ProxyUnavailable,
    StoreError,
    redact,
)
from .outgoing import SendManyTask, SendTask, addressee_of, many_outgoing, one_outgoing
from .proxy.base import SubmitAnswer
from .reports import DeliveryReport, utcnow
from .runtime import Runtime, get_runtime
from .submission import Outgoing

__all__ = [
    "deliver_via_proxy",
    "dispatch_reports",
    "prune_deliveries",
    "resume_stalled",
    "send_many_via_proxy",
    "send_via_proxy",
]

logger = logging.getLogger(__name__)

#: What passes by itself, or by a restart with the right settings; the mail waits for it, however long it takes.
_TROUBLE = (StoreError, OperationalError, ConfigurationError, SoftTimeLimitExceeded)

#: A worker that dies leaves its task to be run again: with one id for the mail, twice run is once sent.
_DURABLE: Mapping[str, Any] = {"acks_late": True, "reject_on_worker_lost": True, "max_retries": None}

#: Above what a call to the proxy can take. A shorter `task_time_limit` of the app's would kill mails on their way.
_TIME_LIMITS: Mapping[str, Any] = {"soft_time_limit": 300, "time_limit": 330}

#: How long a task waits for settings that make sense.
_MISCONFIGURED_SECONDS = 60


@shared_task(
    bind=True,
    base=SendTask,
    name="celery_mailproxy.send_via_proxy",
    throws=(InvalidMessage, MessageRejected),
    typing=False,
    **_DURABLE,
    **_TIME_LIMITS,
)
def send_via_proxy(self: Any, *content: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
    """Submit one mail to the proxy: `send_via_proxy.delay(subject=…, body=…, to=[…], on_sent=paid.s(7))`.

    Arguments: `subject, body, from_email, to, cc, bcc, html_body, attachments, headers, reply_to, return_path,
    priority, account_id, tenant_id, batch_code, send_at, message_id, server`, or `raw` for a whole RFC 5322 message;
    and `on_sent, on_error, on_deferred, on_bounced`. See `MailMessage` for what each may be. In a chain, the task
    before may return a dict of such arguments; those given here win.

    Returns `{"id": message id, "queued": 1, "rejected": []}` once the proxy has the mail; the delivery itself is
    reported later. Raises `InvalidMessage` in the caller, and in the worker `MessageRejected` and
    `ProxyRequestError`, which no retry mends. An unreachable proxy is tried again with exponential back-off, up to
    `mail_proxy_max_retries` times; then the delivery ends as `error`, and `ProxyUnavailable` is raised.
    """
    try:
        return _send(self, content, arguments)
    except _TROUBLE as exc:
        raise _retry(self, exc) from exc


def _send(task: Any, content: Sequence[Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    outgoing = _one_or_refuse(runtime, content, arguments, task_id)
    message_id = outgoing.message.message_id
    answer = runtime.submitter.submit([outgoing], task_id=task_id)
    if unavailable := answer.unsettled.get(message_id):
        if _retries_left(task, runtime):
            raise _retry(task, unavailable) from unavailable
        if not runtime.submitter.give_up([message_id], f"given up: {unavailable}", task_id=task_id):
            # A report has come meanwhile: an answer was lost, not the mail.
            answer = SubmitAnswer(accepted=(message_id,))
    answer.raise_for(message_id)
    return {"id": message_id, "queued": 1, "rejected": []}


@shared_task(bind=True, base=CollectTask, name="celery_mailproxy.deliver_via_proxy", typing=False, **_TIME_LIMITS)
def deliver_via_proxy(self: Any, *content: Mapping[str, Any], collect: bool = False, **arguments: Any) -> Any:
    """Send one mail; the result follows its delivery. Takes what `send_via_proxy` takes.

    The result is QUEUED, perhaps DEFERRED, then SUCCESS with the report as a dict when the mail is `sent`, or FAILURE
    with `DeliveryError` when it ends as error, is rejected, or never reaches the proxy. So `get()`, chains, groups,
    chords and links go on when the mail is delivered; no worker waits for it.

    With `collect` no outcome is a failure: the result is `{"message_id", "outcome", "reason", "report"}`.

    Called directly or eagerly it submits, and returns `{"state": "queued", "id": message id}`.
    """
    try:
        return _deliver(self, content, arguments)
    except _TROUBLE as exc:
        # Whatever the number of retries: the proxy may have the mail, and its end must find the task.
        raise _retry(self, exc) from exc


def _deliver(task: Any, content: Sequence[Any], arguments: Mapping[str, Any]) -> Any:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    outgoing = _one_or_refuse(runtime, content, arguments, task_id)
    message_id = outgoing.message.message_id
    if task.request.called_directly or task.request.is_eager:
        answer = runtime.submitter.submit([outgoing], task_id=task_id)
        if message_id in answer.rejected:
            raise DeliveryError(answer.rejected[message_id], None, message_id)
        answer.raise_for(message_id)
        return {"state": "queued", "id": message_id}
    begun_at = utcnow()
    kept = task.reserve(outgoing)
    task.show_queued(kept)
    # What is rejected or fails for good has ended after this call: `suspend` finds the outcome.
    answer = runtime.submitter.submit_registered([outgoing], [kept], task_id=task_id, begun_at=begun_at)
    if unavailable := answer.unsettled.get(message_id):
        if _retries_left(task, runtime):
            raise _retry(task, unavailable) from unavailable
        runtime.submitter.give_up([message_id], f"given up: {unavailable}", task_id=task_id)
    return task.suspend(message_id)


@shared_task(
    bind=True,
    base=SendManyTask,
    name="celery_mailproxy.send_many_via_proxy",
    throws=(InvalidMessage,),
    typing=False,
    **_DURABLE,
    **_TIME_LIMITS,
)
def send_many_via_proxy(self: Any, messages: Sequence[Mapping[str, Any]], **common: Any) -> dict[str, Any]:
    """Submit many mails: `send_many_via_proxy.delay([{"subject": …, "to": […]}, …], server="marketing")`.

    Each message is a dict of the arguments of `send_via_proxy`; `common` holds for all that do not say otherwise.
    `.delay()` and `.apply_async()` publish one task for each `mail_proxy_chunk_size` messages and return a
    `GroupResult`; as part of a canvas, or with links, it stays one task, which makes one call a chunk.

    A chunk's result is `{"ids": […], "queued": n, "rejected": [{"id", "reason"}], "failed": [{"id", "reason"}]}`:
    a rejected message does not take its neighbours down. `failed` are those the proxy never took for another reason
    than their own.
    """
    try:
        return _send_many(self, messages, common)
    except _TROUBLE as exc:
        raise _retry(self, exc) from exc


def _send_many(task: Any, messages: Sequence[Any], common: Mapping[str, Any]) -> dict[str, Any]:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    outgoing, refused = many_outgoing(messages, common, settings=runtime.settings, task_id=task_id)
    answer = SubmitAnswer(rejected={message_id: str(exc) for message_id, _, exc in refused})
    for message_id, callbacks, exc in refused:
        runtime.submitter.refuse(message_id, callbacks, str(exc), task_id=task_id)
    size = runtime.settings.chunk_size
    for start in range(0, len(outgoing), size):
        answer += runtime.submitter.submit(outgoing[start : start + size], task_id=task_id)
    if answer.unsettled:
        unavailable = next(iter(answer.unsettled.values()))
        if _retries_left(task, runtime):
            # With the same arguments: the store knows which messages need no second submission.
            raise _retry(task, unavailable) from unavailable
        runtime.submitter.give_up(answer.unsettled, f"given up: {unavailable}", task_id=task_id)
    ids = [each.message.message_id for each in outgoing]
    failed = {message_id: str(error) for message_id, error in {**answer.failed, **answer.unsettled}.items()}
    return _many_result(ids, answer.rejected, failed)


@shared_task(
    bind=True,
    name="celery_mailproxy.dispatch_reports",
    ignore_result=True,
    typing=False,
    **_DURABLE,
)
def dispatch_reports(self: Any, reports: Sequence[Mapping[str, Any]], parked_seconds: float = 0.0) -> None:
    """Tell the application of reports (each as `DeliveryReport.to_json` gives it).

    Published by the receiver. A report of an unknown message waits up to `mail_proxy_park_seconds` for its delivery
    to be registered, and is then told with `delivery=None`.
    """
    try:
        runtime = get_runtime(self.app)
        parsed = [parsed for report in reports if (parsed := _parse(report)) is not None]
        is_last_call = parked_seconds >= runtime.settings.park_seconds
        if is_last_call:
            logger.warning("%d reports are of messages that nobody has registered in this store", len(parsed))
        unknown = runtime.dispatcher.dispatch(parsed, claim=self.request.id or str(uuid4()), adopt=is_last_call)
        if unknown:
            _park(self, runtime, unknown, parked_seconds)
    except Exception as exc:
        # Whatever it is: the proxy has forgotten these reports, so they live in this task until they are told.
        raise _retry(self, exc) from exc


def _parse(report: Mapping[str, Any]) -> DeliveryReport | None:
    try:
        return DeliveryReport.from_json(report)
    except InvalidReport as exc:
        logger.error("a report is set aside: %s", redact(str(exc)))
        return None


@shared_task(bind=True, name="celery_mailproxy.prune_deliveries", ignore_result=False, typing=False)
def prune_deliveries(self: Any, limit: int = 10_000) -> int:
    """Forget up to `limit` expired deliveries, oldest first; their number. For Celery beat, once an hour or a day.

    Needed with SQLite only: Redis expires them by itself.
    """
    return get_runtime(self.app).store.prune(limit=limit)


@shared_task(bind=True, name="celery_mailproxy.resume_stalled", ignore_result=False, typing=False)
def resume_stalled(self: Any, limit: int = 1000) -> dict[str, int]:
    """Move on up to `limit` results of `deliver_via_proxy` that have stalled. For Celery beat, every ten minutes.

    Needed where the broker loses messages, or a worker dies that had acknowledged early: a result whose mail has ended
    is completed, a mail that never reached the proxy is submitted. May run at any time, also twice at once. Returns
    `{"resumed": n, "submitted": n, "waiting": n, "given_up": n, "revoked": n}`.
    """
    runtime = get_runtime(self.app)
    lease_seconds = runtime.retention.lease_seconds
    return janitor.resume_stalled(runtime, now=utcnow(), lease_seconds=lease_seconds, limit=limit)


def _one_or_refuse(
    runtime: Runtime, content: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], task_id: str
) -> Outgoing:
    try:
        return one_outgoing(content, arguments, settings=runtime.settings, message_id=task_id)
    except InvalidMessage as exc:
        # Redacted: Celery logs what a task raises, and stores it as the result.
        redacted = exc.redacted()
        message_id, callbacks = addressee_of(content, arguments, message_id=task_id)
        runtime.submitter.refuse(message_id, callbacks, str(redacted), task_id=task_id)
        raise redacted from None


def _retries_left(task: Any, runtime: Runtime) -> bool:
    # Called directly or eagerly nobody would wait between the tries.
    is_in_worker = not (task.request.called_directly or task.request.is_eager)
    limit = runtime.settings.max_retries
    if task.max_retries is not None:
        # A task of the user's own: its last try must end the delivery, and not only raise.
        limit = min(limit, task.max_retries)
    return is_in_worker and task.request.retries < limit


def _retry(task: Any, exc: Exception) -> Exception:
    """The exception to raise so that the task runs again later, under the same id."""
    if task.request.called_directly or task.request.is_eager:
        return exc
    if isinstance(exc, ConfigurationError):
        logger.error("mail waits for a worker with the right settings: %s", exc)
        countdown: float = _MISCONFIGURED_SECONDS
    else:
        maximum = get_runtime(task.app).settings.retry_max_seconds
        countdown = get_exponential_backoff_interval(1, min(task.request.retries, 30), maximum, full_jitter=True)
    if isinstance(exc, ProxyUnavailable) and exc.retry_after_seconds is not None:
        countdown = max(countdown, exc.retry_after_seconds)
    try:
        # Whether to retry has been decided: `task.retry` would raise at the task's own limit, with nothing ended.
        retry: Exception = task.retry(exc=exc, countdown=countdown, throw=False, max_retries=sys.maxsize)
        return retry
    except Reject as rejected:
        # The retry could not be published. Celery would drop the message: the broker is to keep it instead.
        kept: Exception = Reject(rejected.reason, requeue=True)
        return kept


def _park(task: Any, runtime: Runtime, unknown: Sequence[DeliveryReport], parked_seconds: float) -> None:
    """Come back to these reports later: after 1, 1, 2, 4 … seconds, up to the end of the parking time."""
    countdown = min(max(1.0, parked_seconds), max(0.0, runtime.settings.park_seconds - parked_seconds))
    dispatch_reports.apply_async(
        ([report.to_json() for report in unknown],),
        {"parked_seconds": parked_seconds + max(countdown, 0.001)},
        countdown=countdown,
        argsrepr=f"(<{len(unknown)} parked reports>,)",
        add_to_parent=False,
    )


def _with_reasons(reasons: Mapping[str, str]) -> list[dict[str, str]]:
    # Redacted: Celery logs results, and a reason may quote an address.
    return [{"id": message_id, "reason": redact(reason)} for message_id, reason in reasons.items()]


def _many_result(ids: Sequence[str], rejected: Mapping[str, str], failed: Mapping[str, str]) -> dict[str, Any]:
    all_ids = list(dict.fromkeys([*ids, *rejected]))
    return {
        "ids": all_ids,
        "queued": len(all_ids) - len(rejected) - len(failed),
        "rejected": _with_reasons(rejected),
        "failed": _with_reasons(failed),
    }


@celeryd_init.connect(weak=False, dispatch_uid="celery_mailproxy.check_settings")
def _check_settings(instance: Any, **kwargs: Any) -> None:
    """Keep a worker with wrong settings from starting: it would hold up every mail that it takes."""
    try:
        get_runtime(instance.app).settings.server_names()
    except ConfigurationError as exc:
        raise SystemExit(f"Error: {exc}") from exc


@task_revoked.connect(weak=False, dispatch_uid="celery_mailproxy.end_revoked")
def _end_revoked(sender: Any, request: Any, expired: bool, **kwargs: Any) -> None:
    """End a mail whose task was revoked or has expired before the proxy had it."""
    if sender is None or sender.name != send_via_proxy.name:
        return
    message_id = (request.kwargs or {}).get("message_id") or request.id
    reason = "its task expired" if expired else "its task was revoked"
    try:
        get_runtime(sender.app).submitter.give_up([message_id], reason, task_id=request.id)
    except Exception:
        # Celery runs this between two messages of the worker: nothing may stop it.
        logger.exception("message %s: %s, and could not be ended", message_id, reason)
