"""One mail as a message for each of its recipients, and the submission of these messages (`per_recipient`).

All copies look the same: they show the To and Cc of the one mail, and have its Message-ID. Only the envelope differs.
What becomes of them is joined again by `joining`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ...deliveries.delivery import Delivery, Status
from ...deliveries.report import DeliveryReport, Kind, utcnow
from ...deliveries.stores.base import Recording
from ...dispatch.dispatcher import dispatcher_of
from ...errors import (
    ID_IN_USE,
    DamagedRecord,
    InvalidMessage,
    ProxyUnavailable,
    UnforeseenError,
    UnsupportedMessage,
    redact,
)
from ...mail.headers import read_addresses
from ...mail.message import MailMessage
from ...mail.payload import own_message_id
from ...proxy.api import SubmitAnswer
from ...runtime import Runtime
from .outgoing import Outgoing
from .submitter import submitter_of

__all__ = ["MAX_RECIPIENTS", "distribute", "each_summary", "submit_members", "with_reasons"]

#: More would make a result, and a record in the store, that nobody handles any more.
MAX_RECIPIENTS = 1000

#: Room for what a member's id adds to that of the mail.
_MAX_ID_LENGTH = 255 - len(f"-{MAX_RECIPIENTS - 1}")

#: How much of mails goes in one call, whatever their number: each copy carries the whole mail.
_MAX_CHUNK_BYTES = 16 * 1024 * 1024


def distribute(outgoing: Outgoing) -> tuple[Outgoing, list[Outgoing]]:
    """The parent, which is never submitted, and a message for each recipient, in the order of to, cc and bcc.

    The callbacks are the members': each is called for its own recipient. Raises `InvalidMessage` where there are too
    many recipients, and `UnsupportedMessage` where the mail's own headers leave no room for an envelope.
    """
    message = outgoing.message
    visible = message.to + message.cc
    recipients = _bare(message.recipients)
    _check(message, recipients)
    parent = replace(outgoing, callbacks={}, members=recipients)
    headers = message.headers
    if not any(name.lower() == "message-id" for name, _ in headers):
        # To its readers it is one mail: a reply to it belongs to it, whoever got which copy.
        headers += (("Message-ID", own_message_id(message)),)
    plain = replace(message, headers=headers, bcc=(), envelope=())
    members = []
    for index, address in enumerate(recipients):
        if not visible:
            copy = replace(plain, bcc=(address,))
        elif len(visible) == 1 and _bare(visible) == (address,):
            copy = plain
        else:
            copy = replace(plain, envelope=(address,))
        copy = replace(copy, message_id=f"{message.message_id}-{index}")
        members.append(replace(outgoing, message=copy, parent_id=message.message_id))
    return parent, members


def submit_members(
    runtime: Runtime,
    parent: Delivery,
    members: Sequence[Outgoing],
    *,
    task_id: str,
    begun_at: datetime,
    retry_or_give_up: Callable[[Mapping[str, ProxyUnavailable | UnforeseenError]], list[str]],
) -> SubmitAnswer:
    """Register and submit the members, in chunks, each once however often it is asked to; see `SubmitAnswer`.

    `parent` is the parent's delivery as it was registered. `retry_or_give_up` takes what is unsettled, and raises its
    retry, or gives it up and answers what has ended by it. Raises also what is `FORESEEN`.
    """
    if parent.members != _addresses(members):
        return SubmitAnswer(rejected={each.message.message_id: ID_IN_USE for each in members})
    if parent.is_withdrawn:
        runtime.store.withdraw(parent.member_ids)
    # All of them before the first is submitted: whoever dispatches an end finds the others.
    pairs, damaged = _register(runtime, members, task_id)
    taken = [delivery.message_id for _, delivery in pairs if delivery.parent_id != parent.message_id]
    pairs = [pair for pair in pairs if pair[1].parent_id == parent.message_id]
    answer = SubmitAnswer(rejected=dict.fromkeys(taken, ID_IN_USE))
    away: ProxyUnavailable | None = None
    for chunk in _chunks(pairs, runtime.settings.chunk_size):
        if away is not None:
            # The others need not find out one by one.
            waiting = [delivery for _, delivery in chunk if delivery.status is Status.NEW]
            submitter_of(runtime).take_back(waiting)
            answer += SubmitAnswer(unsettled=dict.fromkeys((each.message_id for each in waiting), away))
            chunk = [pair for pair in chunk if pair[1].status is not Status.NEW]
        outgoing, deliveries = [out for out, _ in chunk], [delivery for _, delivery in chunk]
        part = submitter_of(runtime).submit_registered(outgoing, deliveries, task_id=task_id, begun_at=begun_at)
        away = away or _away(part)
        answer += part
    if answer.unsettled:
        ended = set(retry_or_give_up(answer.unsettled))
        # Of the others a report has come meanwhile: an answer was lost, not the mail.
        found = tuple(each for each in answer.unsettled if each not in ended)
        unsettled = {each: answer.unsettled[each] for each in ended}
        answer = replace(answer, accepted=answer.accepted + found, unsettled=unsettled)
    if damaged is not None:
        raise damaged
    _settle(runtime, parent, answer, task_id)
    return answer


def each_summary(answer: SubmitAnswer) -> dict[str, Any]:
    """How many the proxy has, and why it has not the others: `{"queued", "rejected", "failed"}`."""
    failed = {message_id: str(error) for message_id, error in {**answer.failed, **answer.unsettled}.items()}
    return {
        "queued": len(answer.accepted),
        "rejected": with_reasons(answer.rejected),
        "failed": with_reasons(failed),
    }


def with_reasons(reasons: Mapping[str, str]) -> list[dict[str, str]]:
    """`{"id", "reason"}` of each. Redacted: Celery logs results, and a reason may quote an address."""
    return [{"id": message_id, "reason": redact(reason)} for message_id, reason in reasons.items()]


def _away(answer: SubmitAnswer) -> ProxyUnavailable | None:
    """Why a proxy takes nothing at all; None where it does, or one message alone is to blame."""
    if answer.accepted or answer.rejected:
        return None
    errors = list(answer.unsettled.values())
    return next((each for each in errors if isinstance(each, ProxyUnavailable)), None)


def _register(
    runtime: Runtime, members: Sequence[Outgoing], task_id: str
) -> tuple[list[tuple[Outgoing, Delivery]], DamagedRecord | None]:
    """The members with their deliveries; without those whose records cannot be read, and their error."""
    damaged: DamagedRecord | None = None
    try:
        kept = submitter_of(runtime).register(members, task_id=task_id)
    except DamagedRecord as exc:
        damaged = exc
        members = [each for each in members if each.message.message_id not in exc.message_ids]
        kept = submitter_of(runtime).register(members, task_id=task_id)
    return list(zip(members, kept, strict=True)), damaged


def _settle(runtime: Runtime, parent: Delivery, answer: SubmitAnswer, task_id: str) -> None:
    """Let the parent follow its members."""
    if answer.accepted:
        # Not before all are settled: a parent that is queued needs no further submission.
        queued = DeliveryReport(kind=Kind.QUEUED, message_id=parent.message_id, at=utcnow())
        runtime.store.record([queued], claim=task_id, how=Recording(is_settled=True))
    # Where the last end was recorded before a crash, nobody else may look.
    dispatcher_of(runtime).join([parent.message_id])


def _check(message: MailMessage, recipients: Sequence[str]) -> None:
    if len(recipients) > MAX_RECIPIENTS:
        raise InvalidMessage(
            "per_recipient",
            f"must have at most {MAX_RECIPIENTS} recipients: split the email, got {len(recipients)}",
        )
    if len(message.message_id) > _MAX_ID_LENGTH:
        raise InvalidMessage(
            "message_id", f"must be at most {_MAX_ID_LENGTH} characters with per_recipient, got {message.message_id!r}"
        )
    for name, _ in message.headers:
        if name.lower().startswith("resent-"):
            raise UnsupportedMessage(
                f"headers[{name!r}]", "must not be set with per_recipient: the Resent headers carry its envelope"
            )


def _bare(mailboxes: Sequence[str]) -> tuple[str, ...]:
    """The addresses alone, each once; the domain is compared without case, as in `Mailbox.key`."""
    found: dict[str, str] = {}
    for text in mailboxes:
        for _, address in read_addresses(text):
            local, _, domain = address.rpartition("@")
            found.setdefault(f"{local}@{domain.lower()}", address)
    return tuple(found.values())


def _addresses(members: Sequence[Outgoing]) -> tuple[str, ...]:
    return tuple(_bare(member.message.recipients)[0] for member in members)


def _chunks(pairs: Sequence[tuple[Outgoing, Delivery]], size: int) -> Iterator[Sequence[tuple[Outgoing, Delivery]]]:
    if not pairs:
        return
    message = pairs[0][0].message
    texts = (message.body, message.html_body, message.raw)
    weight = sum(len(text or "") for text in texts) + sum(len(each.content or b"") for each in message.attachments) * 2
    step = max(1, min(size, _MAX_CHUNK_BYTES // (weight + 1)))
    for start in range(0, len(pairs), step):
        yield pairs[start : start + step]
