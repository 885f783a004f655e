"""The Celery tasks: sending, dispatching of reports, pruning of the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from celery import shared_task
from celery.signals import (
    before_task_publish,
    celeryd_after_setup,
    celeryd_init,
    task_postrun,
    task_revoked,
    worker_process_init,
    worker_process_shutdown,
)

from ..conf import task_names
from ..conf.hiding import hide_secrets
from ..deliveries.recording import Dispatched
from ..deliveries.report import DeliveryReport, utcnow
from ..dispatch.dispatcher import dispatcher_of
from ..dispatch.postponing import postponer_of
from ..dispatch.run import RUN_SECONDS, Run
from ..dispatch.sweep import sweep
from ..errors import (
    InvalidMessage,
    InvalidReport,
    MessageRejected,
    StoreError,
    redact,
)
from ..proxy.request_logs import hide_requests
from ..runtime import close_runtimes, configured_runtime
from . import typed
from .confirmed_task import ConfirmedTask
from .healing import heal_mail
from .results.chunks import deliver_from_chunk
from .results.collect_task import CollectTask
from .results.ignored_runs import use_light_tracers
from .results.stalled import move_on_stalled
from .results.worker_hooks import (
    add_maintenance,
    check_settings,
    confirm_in_pool,
    confirm_in_worker,
    report_quorum_queues,
)
from .sending.argument_logs import hide_arguments_in_logs
from .sending.base_tasks import SendManyTask, SendTask, hide_arguments
from .sending.guard import guarded
from .sending.outbox_runs import drop_revoked, end_run
from .sending.retrying import DURABLE, TIME_LIMITS, retry_in, retry_later
from .sending.revoked import end_revoked
from .sending.runs import deliver, deliver_each, send, send_each, send_many

__all__ = [
    "connect_worker_signals",
    "deliver_from_chunk",
    "deliver_via_proxy",
    "dispatch_reports",
    "dispatch_stalled",
    "heal_mail",
    "prune_deliveries",
    "resume_stalled",
    "send_many_via_proxy",
    "send_via_proxy",
]

logger = logging.getLogger(__name__)

#: At the soft limit a handler fails, and is kept for replay: it blocks for three minutes at least, since none is begun
#: with after `RUN_SECONDS`. The hard limit is for a handler that ignores it; what that costs the others is found by
#: `dispatch.sweep`. The application's own `task_time_limit` is not meant for the handlers of a hundred reports.
DISPATCH_TIME_LIMITS: Mapping[str, Any] = {"soft_time_limit": RUN_SECONDS + 180, "time_limit": RUN_SECONDS + 210}

#: How soon a task tries again that has to note what was dispatched: before `dispatch.sweep` has it dispatched anew.
_MARK_AGAIN_SECONDS = 5


@typed.of_type(typed.SendViaProxy)
@shared_task(
    bind=True,
    base=SendTask,
    name=task_names.SEND,
    throws=(InvalidMessage, MessageRejected),
    typing=False,
    __signature__=typed.signature_of("*content", typed.SendArguments),
    **DURABLE,
    **TIME_LIMITS,
)
def send_via_proxy(
    self: Any, *content: Mapping[str, Any], per_recipient: bool = False, **arguments: Any
) -> dict[str, Any]:
    """Submit one mail to the proxy: `send_via_proxy.delay(subject=…, body=…, to=[…], on_sent=paid.s(7))`.

    Arguments: `subject, body, from_email, to, cc, bcc, html_body, attachments, headers, reply_to, return_path,
    priority, account_id, tenant_id, batch_code, metadata, tags, send_at, expires_at, message_id, server`, or `raw` for
    a whole RFC 5322 message; and `on_sent, on_error, on_deferred, on_bounced`. See `MailMessage` for what each may be.
    In a chain, the task before may return a dict of such arguments; those given here win.

    Returns `{"id": message id, "queued": 1, "rejected": []}` once the proxy has the mail; the delivery itself is
    reported later. Raises `InvalidMessage` in the caller, and in the worker `MessageRejected` and
    `ProxyRequestError`, by which the proxy refuses this very mail. An unreachable proxy, and an unexpected error, is
    tried again with exponential back-off, up to `mail_proxy_max_retries` times; then the delivery ends as `error`,
    and `ProxyUnavailable` or `UnforeseenError` is raised. A wrong token or URL is waited for.

    With `per_recipient` each recipient gets a message of its own, `{task id}-{n}`, that shows the same To and Cc, and
    callbacks of its own. Returns `{"id", "ids": {address: message id}, "queued": n, "rejected", "failed"}`, the last
    two lists of `{"id", "reason"}`; where the proxy took none, the error of the first is raised.
    """
    result: dict[str, Any] = guarded(self, lambda: (send_each if per_recipient else send)(self, content, arguments))
    return result


@typed.of_type(typed.DeliverViaProxy)
@shared_task(
    bind=True,
    base=CollectTask,
    name=task_names.DELIVER,
    typing=False,
    __signature__=typed.signature_of("*content", typed.DeliverArguments),
    **TIME_LIMITS,
)
def deliver_via_proxy(
    self: Any, *content: Mapping[str, Any], collect: bool = False, per_recipient: bool = False, **arguments: Any
) -> Any:
    """Send one mail; the result follows its delivery. Takes what `send_via_proxy` takes.

    The result is QUEUED, perhaps DEFERRED, then SUCCESS with the report as a dict when the mail is `sent`, or FAILURE
    with `DeliveryError` when it ends as error, is rejected, or never reaches the proxy. So `get()`, chains, groups,
    chords and links go on when the mail is delivered; no worker waits for it.

    With `collect` no outcome is a failure: the result is `{"message_id", "outcome", "reason", "report"}`.

    With `per_recipient` each recipient gets a message of its own, as with `send_via_proxy`. The result follows all of
    them: SUCCESS when all have ended and at least one was `sent`, with `ids` `{address: message id}`, `sent`
    `[address]` and `error` `{address: reason}` beside the report; else FAILURE, or with `collect` an outcome with them.

    Called directly or eagerly it submits, and returns `{"state": "queued", "id": message id}`; with `per_recipient`
    also `ids`, `sent` (empty) and `error` (whom the proxy refused).
    """
    return guarded(self, lambda: (deliver_each if per_recipient else deliver)(self, content, arguments))


@typed.of_type(typed.SendManyViaProxy)
@shared_task(
    bind=True,
    base=SendManyTask,
    name=task_names.SEND_MANY,
    throws=(InvalidMessage,),
    typing=False,
    __signature__=typed.signature_of("messages", typed.MailArguments),
    **DURABLE,
    **TIME_LIMITS,
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
    result: dict[str, Any] = guarded(self, lambda: send_many(self, messages, common))
    return result


@shared_task(
    bind=True,
    base=ConfirmedTask,
    name=task_names.DISPATCH,
    ignore_result=True,
    typing=False,
    **DURABLE,
    **DISPATCH_TIME_LIMITS,
)
def dispatch_reports(
    self: Any,
    reports: Sequence[Mapping[str, Any]],
    parked_seconds: float = 0.0,
    *,
    after: str | None = None,
    dispatched: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Notify the application of reports (each as `DeliveryReport.to_json` gives it).

    Published by the receiver. A report of an unknown message waits up to `mail_proxy_park_seconds` for its delivery
    to be registered, and is then dispatched with `delivery=None`. What a run leaves to another task comes with its
    claim, `after`, and with what it has `dispatched` while the store was away: that is marked first.
    """
    run = Run(after=after, tries=self.request.retries)
    try:
        runtime = configured_runtime(self.app)
        dispatcher = dispatcher_of(runtime)
        dispatcher.mark([Dispatched.from_json(each) for each in dispatched])
        parsed = [parsed for report in reports if (parsed := _parse(report)) is not None]
        is_last_call = parked_seconds >= runtime.settings.park_seconds
        if is_last_call:
            logger.warning("%d reports are of messages that nobody has registered in this store", len(parsed))
        if unknown := dispatcher.dispatch(parsed, run=run, adopt=is_last_call):
            postponer_of(runtime).park(unknown, parked_seconds, at_most=runtime.settings.park_seconds)
    except Exception as exc:
        # Whatever it is: the proxy has forgotten these reports, so they live in this task until they are dispatched.
        if run.unmarked:
            # The handlers of these have run: the next run notes that first.
            notes = [*dispatched, *(each.to_json() for each in run.unmarked)]
            kwargs = {**(self.request.kwargs or {}), "after": run.claim, "dispatched": notes}
            raise retry_in(self, exc, _MARK_AGAIN_SECONDS, kwargs=kwargs) from exc
        if dispatched:
            raise retry_in(self, exc, _MARK_AGAIN_SECONDS) from exc
        if isinstance(exc, StoreError):
            raise retry_later(self, exc) from exc
        # They have been recorded, and this run ends here: the next one need not wait until its claim is stale.
        raise retry_later(self, exc, kwargs={**(self.request.kwargs or {}), "after": run.claim}) from exc


def _parse(report: Mapping[str, Any]) -> DeliveryReport | None:
    try:
        return DeliveryReport.from_json(report)
    except InvalidReport as exc:
        logger.error("a report is set aside: %s", redact(str(exc)))
        return None


@shared_task(bind=True, base=ConfirmedTask, name=task_names.PRUNE, ignore_result=False, typing=False, **TIME_LIMITS)
def prune_deliveries(self: Any, limit: int = 10_000) -> int:
    """Forget up to `limit` expired deliveries, oldest first; their number. For Celery beat, once an hour or a day.

    Needed with SQLite only: Redis expires them by itself.
    """
    return configured_runtime(self.app).store.prune(limit=limit)


@shared_task(
    bind=True, base=ConfirmedTask, name=task_names.DISPATCH_STALLED, ignore_result=False, typing=False, **TIME_LIMITS
)
def dispatch_stalled(self: Any, limit: int = 1000) -> int:
    """Dispatch the reports of up to `limit` mails whose run is gone; how many reports. For Celery beat.

    Needed where the broker does not give the task of a dead worker back soon: see `dispatch.sweep`. May run at any
    time, also twice at once.
    """
    return sweep(configured_runtime(self.app), now=utcnow(), limit=limit)


@shared_task(
    bind=True, base=ConfirmedTask, name=task_names.RESUME_STALLED, ignore_result=False, typing=False, **TIME_LIMITS
)
def resume_stalled(self: Any, limit: int = 1000) -> dict[str, int]:
    """Move on up to `limit` results of `deliver_via_proxy` that have stalled. For Celery beat, every ten minutes.

    Needed where the broker loses messages, or a worker dies that had acknowledged early: a result whose mail has ended
    is completed, a mail that never reached the proxy is submitted. May run at any time, also twice at once. Returns
    `{"resumed": n, "submitted": n, "waiting": n, "given_up": n, "revoked": n}`.
    """
    runtime = configured_runtime(self.app)
    lease_seconds = runtime.retention.lease_seconds
    return move_on_stalled(runtime, now=utcnow(), lease_seconds=lease_seconds, limit=limit)


def connect_worker_signals() -> None:
    """Connect what a process with these tasks does beside running them. Once is enough, and more does no harm."""
    before_task_publish.connect(hide_arguments, weak=False, dispatch_uid="celery_mailproxy.hide_arguments")
    celeryd_init.connect(check_settings, weak=False, dispatch_uid="celery_mailproxy.check_settings")
    celeryd_init.connect(confirm_in_worker, weak=False, dispatch_uid="celery_mailproxy.confirm_in_worker")
    celeryd_init.connect(hide_requests, weak=False, dispatch_uid="celery_mailproxy.hide_requests")
    celeryd_init.connect(add_maintenance, weak=False, dispatch_uid="celery_mailproxy.add_maintenance")
    celeryd_after_setup.connect(report_quorum_queues, weak=False, dispatch_uid="celery_mailproxy.report_quorum_queues")
    task_postrun.connect(end_run, weak=False, dispatch_uid="celery_mailproxy.end_run")
    task_revoked.connect(end_revoked, weak=False, dispatch_uid="celery_mailproxy.end_revoked")
    task_revoked.connect(drop_revoked, weak=False, dispatch_uid="celery_mailproxy.drop_revoked")
    worker_process_init.connect(confirm_in_pool, weak=False, dispatch_uid="celery_mailproxy.confirm_in_pool")
    worker_process_init.connect(hide_requests, weak=False, dispatch_uid="celery_mailproxy.hide_requests")
    worker_process_init.connect(use_light_tracers, weak=False, dispatch_uid="celery_mailproxy.use_light_tracers")
    worker_process_shutdown.connect(_close_runtimes, weak=False, dispatch_uid="celery_mailproxy.close_runtimes")


def _close_runtimes(**kwargs: Any) -> None:
    # A pool's process ends without waiting for its threads, among which are the senders of events.
    close_runtimes()


connect_worker_signals()
# A worker that no command line has started is asked for its settings, too.
hide_secrets()
hide_arguments_in_logs()
