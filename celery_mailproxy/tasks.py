"""The Celery tasks: sending, dispatching of reports, pruning of the store."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from celery import shared_task
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.utils.time import get_exponential_backoff_interval
from kombu.exceptions import OperationalError

from . import janitor
from .collecting import CollectTask
from .deliveries import Delivery
from .errors import (
    DeliveryError,
    InvalidMessage,
    MailProxyError,
    MessageRejected,
    ProxyRequestError,
    ProxyUnavailable,
    StoreError,
    redact,
)
from .outgoing import SendManyTask, SendTask, many_outgoing, one_outgoing
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

#: What passes by itself: worth a retry with the same message id.
_PASSING = (ProxyUnavailable, StoreError, OperationalError, SoftTimeLimitExceeded)

#: A worker that dies leaves its task to be run again: with one id for the mail, twice run is once sent.
_DURABLE: Mapping[str, Any] = {"acks_late": True, "reject_on_worker_lost": True, "max_retries": None}


@shared_task(
    bind=True,
    base=SendTask,
    name="celery_mailproxy.send_via_proxy",
    throws=(MailProxyError,),
    typing=False,
    **_DURABLE,
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
    runtime = get_runtime(self.app)
    task_id = self.request.id or str(uuid4())
    outgoing = _one_or_refuse(runtime, content, arguments, task_id)
    message_id = outgoing.message.message_id
    try:
        answer = runtime.submitter.submit([outgoing], task_id=task_id)
    except InvalidMessage as exc:
        raise _refused(runtime, message_id, outgoing.callbacks, exc, task_id) from None
    except ProxyRequestError as exc:
        runtime.submitter.give_up([message_id], str(exc), task_id=task_id)
        raise
    except _PASSING as exc:
        if _retries_left(self, runtime):
            raise _retry(self, runtime, exc) from exc
        if not runtime.submitter.give_up([message_id], f"given up: {exc}", task_id=task_id):
            # A report has come meanwhile: an answer was lost, not the mail.
            return _result(message_id)
        raise
    if message_id in answer.rejected:
        raise MessageRejected(message_id, answer.rejected[message_id])
    return _result(message_id)


@shared_task(bind=True, base=CollectTask, name="celery_mailproxy.deliver_via_proxy", typing=False)
def deliver_via_proxy(self: Any, *content: Mapping[str, Any], collect: bool = False, **arguments: Any) -> Any:
    """Send one mail; the result follows its delivery. Takes what `send_via_proxy` takes.

    The result is QUEUED, perhaps DEFERRED, then SUCCESS with the report as a dict when the mail is `sent`, or FAILURE
    with `DeliveryError` when it ends as error, is rejected, or never reaches the proxy. So `get()`, chains, groups,
    chords and links go on when the mail is delivered; no worker waits for it.

    With `collect` no outcome is a failure: the result is `{"message_id", "outcome", "reason", "report"}`.

    Called directly or eagerly it submits, and returns `{"state": "queued", "id": message id}`.
    """
    runtime = get_runtime(self.app)
    task_id = self.request.id or str(uuid4())
    outgoing = _one_or_refuse(runtime, content, arguments, task_id)
    message_id = outgoing.message.message_id
    if self.request.called_directly or self.request.is_eager:
        answer = runtime.submitter.submit([outgoing], task_id=task_id)
        if message_id in answer.rejected:
            raise DeliveryError(answer.rejected[message_id], None, message_id)
        return {"state": "queued", "id": message_id}
    try:
        kept = self.reserve(outgoing)
        self.show_queued(kept)
        _submit_or_give_up(self, runtime, outgoing, kept)
        return self.suspend(message_id)
    except (StoreError, OperationalError) as exc:
        # Whatever the number of retries: the proxy may have the mail, and its end must find the task.
        raise _retry(self, runtime, exc) from exc


@shared_task(
    bind=True,
    base=SendManyTask,
    name="celery_mailproxy.send_many_via_proxy",
    throws=(MailProxyError,),
    typing=False,
    **_DURABLE,
)
def send_many_via_proxy(self: Any, messages: Sequence[Mapping[str, Any]], **common: Any) -> dict[str, Any]:
    """Submit many mails: `send_many_via_proxy.delay([{"subject": …, "to": […]}, …], server="marketing")`.

    Each message is a dict of the arguments of `send_via_proxy`; `common` holds for all that do not say otherwise.
    `.delay()` and `.apply_async()` publish one task for each `mail_proxy_chunk_size` messages and return a
    `GroupResult`; as part of a canvas it stays one task, which makes one call a chunk.

    A chunk's result is `{"ids": […], "queued": n, "rejected": [{"id", "reason"}], "failed": [{"id", "reason"}]}`:
    a rejected message does not take its neighbours down. `failed` are those the proxy never answered for.
    """
    runtime = get_runtime(self.app)
    task_id = self.request.id or str(uuid4())
    outgoing, refused = many_outgoing(messages, common, settings=runtime.settings, task_id=task_id)
    rejected: dict[str, str] = {}
    for message_id, callbacks, exc in refused:
        rejected[message_id] = str(exc)
        runtime.submitter.refuse(message_id, callbacks, str(exc), task_id=task_id)
    failed: dict[str, str] = {}
    problem: Exception | None = None
    size = runtime.settings.chunk_size
    for start in range(0, len(outgoing), size):
        chunk = outgoing[start : start + size]
        ids = [each.message.message_id for each in chunk]
        try:
            answer = runtime.submitter.submit(chunk, task_id=task_id)
        except ProxyRequestError as exc:
            runtime.submitter.give_up(ids, str(exc), task_id=task_id)
            failed.update(dict.fromkeys(ids, str(exc)))
            continue
        except _PASSING as exc:
            problem = exc
            failed.update(dict.fromkeys(ids, str(exc)))
            continue
        rejected.update(answer.rejected)
        for message_id, unavailable in answer.unsettled.items():
            problem = unavailable
            failed[message_id] = str(unavailable)
    if problem is not None:
        if _retries_left(self, runtime):
            # With the same arguments: the store knows which messages need no second submission.
            raise _retry(self, runtime, problem)
        runtime.submitter.give_up(failed, f"given up: {problem}", task_id=task_id)
    return _many_result([each.message.message_id for each in outgoing], rejected, failed)


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
    runtime = get_runtime(self.app)
    try:
        parsed = [DeliveryReport.from_json(report) for report in reports]
        is_last_call = parked_seconds >= runtime.settings.park_seconds
        unknown = runtime.dispatcher.dispatch(parsed, claim=self.request.id or str(uuid4()), adopt=is_last_call)
        if unknown:
            _park(self, runtime, unknown, parked_seconds)
    except Exception as exc:
        # Whatever it is: the proxy has forgotten these reports, so they live in this task until they are told.
        raise _retry(self, runtime, exc) from exc


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


def _submit_or_give_up(task: Any, runtime: Runtime, outgoing: Outgoing, kept: Delivery) -> None:
    """Submit one registered message; where that fails for good, its delivery has ended as error after this call."""
    message_id, task_id = outgoing.message.message_id, task.request.id
    try:
        runtime.submitter.submit_registered([outgoing], [kept], task_id=task_id)
    except InvalidMessage as exc:
        runtime.submitter.give_up([message_id], str(exc.redacted()), task_id=task_id)
    except ProxyRequestError as exc:
        runtime.submitter.give_up([message_id], str(exc), task_id=task_id)
    except (ProxyUnavailable, SoftTimeLimitExceeded) as exc:
        if _retries_left(task, runtime):
            raise _retry(task, runtime, exc) from exc
        runtime.submitter.give_up([message_id], f"given up: {exc}", task_id=task_id)


def _one_or_refuse(
    runtime: Runtime, content: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], task_id: str
) -> Outgoing:
    try:
        return one_outgoing(content, arguments, settings=runtime.settings, message_id=task_id)
    except InvalidMessage as exc:
        message_id = arguments.get("message_id") or task_id
        raise _refused(runtime, str(message_id), {}, exc, task_id) from None


def _refused(runtime: Runtime, message_id: str, callbacks: Any, exc: InvalidMessage, task_id: str) -> InvalidMessage:
    # Redacted: Celery logs what a task raises, and stores it as the result.
    redacted = exc.redacted()
    runtime.submitter.refuse(message_id, callbacks, str(redacted), task_id=task_id)
    return redacted


def _retries_left(task: Any, runtime: Runtime) -> bool:
    # Called directly or eagerly nobody would wait between the tries.
    is_in_worker = not (task.request.called_directly or task.request.is_eager)
    limit = runtime.settings.max_retries
    if task.max_retries is not None:
        # A task of the user's own: its last try must end the delivery, and not only raise.
        limit = min(limit, task.max_retries)
    return is_in_worker and task.request.retries < limit


def _retry(task: Any, runtime: Runtime, exc: Exception) -> Exception:
    """The exception to raise so that the task runs again later, under the same id."""
    if task.request.called_directly or task.request.is_eager:
        return exc
    countdown: float = get_exponential_backoff_interval(
        1, min(task.request.retries, 30), runtime.settings.retry_max_seconds, full_jitter=True
    )
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


def _result(message_id: str) -> dict[str, Any]:
    return {"id": message_id, "queued": 1, "rejected": []}


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
