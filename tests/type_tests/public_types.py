"""The public types, as mypy sees them: `make types` reads this module, and nothing runs it.

Each public class has a function here that takes an instance, and says the type of each of its attributes; the errors'
are in `public_errors.py`. What must not pass stands in `wrong_uses.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.message import Message
from pathlib import Path
from typing import Any, Literal

from typing_extensions import assert_type

from celery_mailproxy import (
    Attachment,
    Cancellation,
    CancelOutcome,
    Delivery,
    DeliveryReport,
    Kind,
    MailMessage,
    Pause,
    Priority,
    ProxyClient,
    ProxyRequestError,
    ProxyUnavailable,
    ReportReceiver,
    Status,
    Submission,
    UnforeseenError,
    __version__,
    attachment_resolver,
    cancel,
    cancel_many,
    deliver_many_via_proxy,
    deliver_via_proxy,
    dispatch_reports,
    get_delivery,
    pause,
    prune_deliveries,
    resume,
    resume_stalled,
    run_now,
    send_many_via_proxy,
    send_via_proxy,
    signals,
)
from celery_mailproxy.receiver.receiver import Response
from celery_mailproxy.tasks.typed import DeliverViaProxy, SendManyViaProxy, SendViaProxy

assert_type(__version__, str)


def functions(app: Any, messages: list[dict[str, Any]]) -> None:
    assert_type(get_delivery("id"), Delivery | None)
    assert_type(get_delivery(message_id="id", app=app), Delivery | None)
    assert_type(cancel("id", app=app), Cancellation)
    assert_type(cancel_many(each for each in ("id", "other")), list[Cancellation])
    assert_type(pause(batch_code="spring", app=app), Pause)
    assert_type(resume(tenant="acme", server="marketing"), Pause)
    assert_type(run_now(tenant="acme"), None)
    # A Celery signature: Celery ships no types.
    assert_type(deliver_many_via_proxy(messages), Any)
    assert_type(deliver_many_via_proxy(messages, collect=True, per_recipient=True, app=app, subject="S"), Any)


def tasks() -> None:
    assert_type(dispatch_reports, Any)
    assert_type(prune_deliveries, Any)
    assert_type(resume_stalled, Any)
    assert_type(send_via_proxy, SendViaProxy)
    assert_type(deliver_via_proxy, DeliverViaProxy)
    assert_type(send_many_via_proxy, SendManyViaProxy)
    assert_type(send_via_proxy.name, str)
    assert_type(send_via_proxy({}, subject="S"), dict[str, Any])
    # What Celery has for these, which ships no types.
    assert_type(send_via_proxy.delay(), Any)
    assert_type(send_via_proxy.s(), Any)
    assert_type(send_via_proxy.apply_async(kwargs={"to": "a@example.com"}, countdown=5), Any)
    assert_type(deliver_via_proxy.si(), Any)
    assert_type(send_many_via_proxy.delay([]), Any)
    assert_type(send_many_via_proxy.s(), Any)


def arguments_of_a_mail(moment: datetime, message: Message, task: Any) -> None:
    """What each may be, in each way to send."""
    send_via_proxy.delay(subject="S", body="B", from_email="a@example.com", to=["b@example.com"], cc="c@example.com")
    send_via_proxy.delay({"subject": "from the task before"}, bcc={"d@example.com"}, reply_to=("e@example.com",))
    send_via_proxy.s(html_body="<p>", headers={"X-N": 5}, priority="high", return_path="f@example.com", to=None)
    send_via_proxy.si(account_id=7, tenant_id="shop", batch_code="b", message_id="m", server="marketing")
    send_via_proxy.si(metadata={"order": 7}, tags="vip", send_at=moment, expires_at=60, raw=message, priority=1)
    send_via_proxy.si(raw=b"Subject: S", priority=Priority.LOW, tags=["vip"], send_at=1.5)
    send_via_proxy.delay(
        attachments=[
            Attachment(filename="a", content=b""),
            Path("a.pdf"),
            message,
            {"filename": "a", "content": "eA=="},
            ("a.txt", "text"),
            ("a.txt", b"bytes", "text/plain"),
        ]
    )
    send_via_proxy.delay(on_sent=task.s(7), on_error=[task.s(7)], on_deferred=task.s(), on_bounced=task.s())
    send_via_proxy.delay(to=["a@example.com"], per_recipient=True)
    deliver_via_proxy.delay(to=["a@example.com"], per_recipient=True, collect=True)
    send_many_via_proxy.delay([{"to": ["a@example.com"]}], subject="S", priority=3)


def mail_signals() -> None:
    assert_type(signals.delivery_reported, signals.MailSignal)
    assert_type(signals.mail_bounced, signals.MailSignal)
    assert_type(signals.mail_cancelled, signals.MailSignal)
    assert_type(signals.mail_deferred, signals.MailSignal)
    assert_type(signals.mail_error, signals.MailSignal)
    assert_type(signals.mail_complained, signals.MailSignal)
    assert_type(signals.mail_expired, signals.MailSignal)
    assert_type(signals.mail_overdue, signals.MailSignal)
    assert_type(signals.mail_suppressed, signals.MailSignal)
    assert_type(signals.mail_pec, signals.MailSignal)
    assert_type(signals.mail_queued, signals.MailSignal)
    assert_type(signals.mail_rejected, signals.MailSignal)
    assert_type(signals.mail_sent, signals.MailSignal)
    assert_type(signals.mail_submitting, signals.MailSignal)
    assert_type(signals.signals_of(Kind.SENT), tuple[signals.MailSignal, ...])


def resolvers() -> None:
    """A decorated function keeps its type, in each form of the decorator."""

    @attachment_resolver
    def bare(params: Mapping[str, str], tenant: str | None) -> Attachment | None:
        return None

    @attachment_resolver()
    def called(params: Mapping[str, str], tenant: str | None) -> bytes:
        return b""

    @attachment_resolver("invoice_id")
    def keyed(params: Mapping[str, str], tenant: str | None) -> str:
        return ""

    assert_type(bare({}, None), Attachment | None)
    assert_type(called({}, None), bytes)
    assert_type(keyed({}, None), str)


def attachment(attachment: Attachment) -> None:
    assert_type(attachment.filename, str | None)
    assert_type(attachment.content, bytes | None)
    assert_type(attachment.mime_type, str | None)
    assert_type(attachment.content_id, str | None)
    assert_type(attachment.disposition, Literal["attachment", "inline"])
    assert_type(attachment.headers, tuple[tuple[str, str], ...])
    assert_type(attachment.is_part, bool)
    assert_type(attachment.fetch_mode, Literal["http_url", "filesystem", "endpoint"] | None)
    assert_type(attachment.storage_path, str | None)
    assert_type(attachment.to_json(), dict[str, Any])
    assert_type(attachment.from_json({}), Attachment)
    assert_type(attachment.from_any(("a.txt", b"")), Attachment)
    assert_type(attachment.from_url("https://example.com/a", filename="a", mime_type="text/plain"), Attachment)
    assert_type(attachment.from_file(Path("a"), filename="a", mime_type="image/png", content_id="a"), Attachment)
    assert_type(attachment.from_file("a"), Attachment)
    assert_type(attachment.from_proxy_disk("/srv/a", filename="a", mime_type="text/plain"), Attachment)
    assert_type(attachment.from_endpoint("a=1", filename="a", mime_type="text/plain"), Attachment)
    Attachment(
        filename="logo.png",
        content=b"",
        mime_type="image/png",
        content_id="logo",
        disposition="inline",
        headers=(("X-Part", "1"),),
        is_part=False,
        fetch_mode=None,
        storage_path=None,
    )


def mail_message(message: MailMessage) -> None:
    assert_type(message.message_id, str)
    assert_type(message.from_email, str)
    assert_type(message.subject, str)
    assert_type(message.body, str | None)
    assert_type(message.html_body, str | None)
    assert_type(message.to, tuple[str, ...])
    assert_type(message.cc, tuple[str, ...])
    assert_type(message.bcc, tuple[str, ...])
    assert_type(message.envelope, tuple[str, ...])
    assert_type(message.recipients, tuple[str, ...])
    assert_type(message.attachments, tuple[Attachment, ...])
    assert_type(message.headers, tuple[tuple[str, str], ...])
    assert_type(message.reply_to, tuple[str, ...])
    assert_type(message.return_path, str | None)
    assert_type(message.priority, Priority)
    assert_type(message.account_id, str | None)
    assert_type(message.tenant_id, str | None)
    assert_type(message.batch_code, str | None)
    assert_type(message.send_at, int | None)
    assert_type(message.expires_at, int | None)
    assert_type(message.expires_moment, datetime | None)
    assert_type(message.metadata, Mapping[str, Any])
    assert_type(message.tags, tuple[str, ...])
    assert_type(message.server, str)
    assert_type(message.raw, str | None)
    assert_type(message.to_json(), dict[str, Any])
    assert_type(message.from_json({}), MailMessage)
    assert_type(message.from_arguments({}, message_id="id", default_from="a@example.com"), MailMessage)


def priority(priority: Priority) -> None:
    assert_type(priority.IMMEDIATE, Literal[Priority.IMMEDIATE])
    assert_type(priority.HIGH, Literal[Priority.HIGH])
    assert_type(priority.MEDIUM, Literal[Priority.MEDIUM])
    assert_type(priority.LOW, Literal[Priority.LOW])
    assert_type(priority.value, int)
    assert_type(priority.parse("high"), Priority)


def status(status: Status) -> None:
    assert_type(status.NEW, Literal[Status.NEW])
    assert_type(status.QUEUED, Literal[Status.QUEUED])
    assert_type(status.DEFERRED, Literal[Status.DEFERRED])
    assert_type(status.SENT, Literal[Status.SENT])
    assert_type(status.ERROR, Literal[Status.ERROR])
    assert_type(status.BOUNCED, Literal[Status.BOUNCED])
    assert_type(status.REJECTED, Literal[Status.REJECTED])
    assert_type(status.CANCELLED, Literal[Status.CANCELLED])
    assert_type(status.EXPIRED, Literal[Status.EXPIRED])
    assert_type(status.SUPPRESSED, Literal[Status.SUPPRESSED])
    assert_type(status.value, str)
    assert_type(status.is_end, bool)


def kind(kind: Kind) -> None:
    assert_type(kind.QUEUED, Literal[Kind.QUEUED])
    assert_type(kind.REJECTED, Literal[Kind.REJECTED])
    assert_type(kind.SENT, Literal[Kind.SENT])
    assert_type(kind.ERROR, Literal[Kind.ERROR])
    assert_type(kind.DEFERRED, Literal[Kind.DEFERRED])
    assert_type(kind.BOUNCED, Literal[Kind.BOUNCED])
    assert_type(kind.COMPLAINED, Literal[Kind.COMPLAINED])
    assert_type(kind.CANCELLED, Literal[Kind.CANCELLED])
    assert_type(kind.EXPIRED, Literal[Kind.EXPIRED])
    assert_type(kind.OVERDUE, Literal[Kind.OVERDUE])
    assert_type(kind.SUPPRESSED, Literal[Kind.SUPPRESSED])
    assert_type(kind.PEC, Literal[Kind.PEC])
    assert_type(kind.value, str)


def delivery_report(report: DeliveryReport) -> None:
    assert_type(report.kind, Kind)
    assert_type(report.message_id, str)
    assert_type(report.at, datetime)
    assert_type(report.reason, str | None)
    assert_type(report.code, str | None)
    assert_type(report.bounce_type, str | None)
    assert_type(report.pec_event, str | None)
    assert_type(report.recipient, str | None)
    assert_type(report.event_id, str | None)
    assert_type(report.retry_at, datetime | None)
    assert_type(report.tenant_id, str | None)
    assert_type(report.via, str)
    assert_type(report.raw, Mapping[str, Any])
    assert_type(report.key, str)
    assert_type(report.to_json(), dict[str, Any])
    assert_type(report.from_json({}), DeliveryReport)


def delivery(delivery: Delivery) -> None:
    assert_type(delivery.message_id, str)
    assert_type(delivery.status, Status)
    assert_type(delivery.created_at, datetime)
    assert_type(delivery.updated_at, datetime)
    assert_type(delivery.callbacks, Mapping[str, Sequence[Mapping[str, Any]]])
    assert_type(delivery.task_id, str | None)
    assert_type(delivery.tenant_id, str | None)
    assert_type(delivery.account_id, str | None)
    assert_type(delivery.server, str)
    assert_type(delivery.batch_code, str | None)
    assert_type(delivery.metadata, Mapping[str, Any])
    assert_type(delivery.tags, tuple[str, ...])
    assert_type(delivery.labels, dict[str, Any])
    assert_type(delivery.expires_at, datetime | None)
    assert_type(delivery.run, str)
    assert_type(delivery.is_withdrawn, bool)
    assert_type(delivery.summary, Mapping[str, Any])
    assert_type(delivery.is_known, bool)
    assert_type(delivery.members, tuple[str, ...])
    assert_type(delivery.member_ids, tuple[str, ...])
    assert_type(delivery.ids_by_member, dict[str, str])
    assert_type(delivery.parent_id, str | None)
    assert_type(delivery.is_ended, bool)
    assert_type(delivery.reason, str | None)
    assert_type(delivery.queued_at, datetime | None)
    assert_type(delivery.sent_at, datetime | None)
    assert_type(delivery.ended_at, datetime | None)
    assert_type(delivery.outcome, DeliveryReport | None)
    assert_type(delivery.attempts, int)
    entry = delivery.history[0]
    assert_type(entry.report, DeliveryReport)
    assert_type(entry.claim, str | None)
    assert_type(entry.claimed_at, datetime | None)
    assert_type(entry.is_dispatched, bool)
    assert_type(entry.is_stale, bool)
    assert_type(entry.failed, tuple[str, ...])
    if delivery.suspension is not None:
        assert_type(delivery.suspension.owner, str)
        assert_type(delivery.suspension.since, datetime)


def cancellation(cancellation: Cancellation) -> None:
    assert_type(cancellation.message_id, str)
    assert_type(cancellation.outcome, CancelOutcome)
    assert_type(cancellation.is_cancelled, bool)
    assert_type(cancellation.status, Status | None)
    assert_type(cancellation.reason, str | None)


def cancel_outcome(outcome: CancelOutcome) -> None:
    assert_type(outcome.BEFORE_SUBMISSION, Literal[CancelOutcome.BEFORE_SUBMISSION])
    assert_type(outcome.AT_PROXY, Literal[CancelOutcome.AT_PROXY])
    assert_type(outcome.TOO_LATE, Literal[CancelOutcome.TOO_LATE])
    assert_type(outcome.MAYBE_SENT, Literal[CancelOutcome.MAYBE_SENT])
    assert_type(outcome.UNKNOWN, Literal[CancelOutcome.UNKNOWN])
    assert_type(outcome.is_cancelled, bool)
    assert_type(outcome.value, str)


def pausing(pausing: Pause) -> None:
    assert_type(pausing.tenant_id, str)
    assert_type(pausing.batch_code, str | None)
    assert_type(pausing.paused, tuple[str, ...])
    assert_type(pausing.pending, int | None)
    assert_type(pausing.is_paused, bool)


def submission(submission: Submission) -> None:
    assert_type(submission.message, MailMessage)
    assert_type(submission.delivery, Delivery)
    submission.replace(to="ann@example.com", cc=[], bcc=[], subject="s", headers={"X-Old": None})


def report_receiver(receiver: ReportReceiver, request: Any, accept: Callable[[Sequence[DeliveryReport]], None]) -> None:
    ReportReceiver(accept=accept, tokens={None: ("secret",)})
    ReportReceiver(
        accept=accept,
        tokens={"acme": ("new", "old")},
        report_path="/sync",
        attachments_path="/attachments",
        max_report_bytes=1000,
        next_sync_after=lambda tenant_id: None,
    )
    assert_type(receiver.accept, Callable[[Sequence[DeliveryReport]], None])
    assert_type(receiver.next_sync_after, Callable[[str | None], Any] | None)
    assert_type(receiver.auth, Literal["token", "none"])
    assert_type(receiver.report_path, str)
    assert_type(receiver.attachments_path, str)
    assert_type(receiver.max_report_bytes, int)
    response = receiver.handle(request)
    assert_type(response.status, int)
    assert_type(response.headers, Sequence[tuple[str, str]])
    assert_type(response.body, bytes)
    admitted = receiver.admit(request)
    if not isinstance(admitted, Response):
        assert_type(admitted.body_limit, int)
        response = receiver.answer(admitted, b"{}")
        response = receiver.refuse_body(admitted)
    assert_type(receiver.counts.responses, Mapping[tuple[str, int], int])
    assert_type(receiver.counts.reports_accepted, int)
    assert_type(receiver.counts.entries_set_aside, int)
    receiver.resolvers.register(lambda params, tenant: params["invoice_id"], key="invoice_id")
    if isinstance(receiver.tokens, Mapping):
        assert_type(receiver.tokens, Mapping[str | None, tuple[str, ...]])


def proxy_client(client: ProxyClient) -> None:
    again = ProxyClient(client.server)
    assert_type(again.server.url, str)
    assert_type(client.api.name, str)
    answer = client.submit([{"id": "id"}])
    assert_type(answer.accepted, tuple[str, ...])
    assert_type(answer.rejected, Mapping[str, str])
    assert_type(answer.failed, Mapping[str, ProxyRequestError])
    assert_type(answer.unsettled, Mapping[str, ProxyUnavailable | UnforeseenError])
    assert_type(answer.raise_for("id"), None)
    assert_type(client.health(), None)
    assert_type(client.holds("id", None), bool)
    assert_type(client.submit_anew([{"id": "id"}]).accepted, tuple[str, ...])
    assert_type(client.give_back({"id": "id"}), bool)
    assert_type(client.suspend("tenant", "batch"), tuple[str, ...])
    assert_type(client.activate("tenant"), tuple[str, ...])
    assert_type(client.count_pending("tenant", "batch"), int | None)
    assert_type(client.messages("tenant"), list[dict[str, Any]])
    assert_type(client.delete_messages("tenant", ["id"]), Any)
    assert_type(client.tenant("tenant"), dict[str, Any])
    assert_type(client.tenants(), list[dict[str, Any]])
    assert_type(client.find_tenant("tenant"), dict[str, Any] | None)
    assert_type(client.accounts(None), list[dict[str, Any]])
    assert_type(client.is_active(), bool | None)
    assert_type(client.run_now("tenant"), None)
    assert_type(client.close(), None)
