"""`Submitter`: from validated messages to the proxy, recorded first, and dispatched after."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ...deliveries.delivery import Delivery, Status, is_undispatched
from ...deliveries.report import DeliveryReport, Kind, utcnow
from ...deliveries.stores.base import Advanced, DeliveryStore
from ...deliveries.stores.damage import note_damaged
from ...dispatch.dispatcher import Dispatcher, dispatcher_of
from ...errors import ID_IN_USE, DamagedRecord, InvalidMessage, ProxyRequestError, ProxyUnavailable, redact
from ...mail.message import MailMessage
from ...mail.payload import encode
from ...mail.summary import summary_of
from ...proxy.api import SubmitAnswer
from ...proxy.client import ProxyClient
from ...runtime import Runtime
from .callbacks import Callbacks
from .outgoing import Outgoing

__all__ = ["Submitter", "submitter_of"]

logger = logging.getLogger(__name__)


class Submitter:
    """Submits messages, each once however often it is asked to.

    `client_for` gives the `ProxyClient` of a server's name.
    """

    def __init__(
        self,
        *,
        store: DeliveryStore,
        client_for: Callable[[str], ProxyClient],
        dispatcher: Dispatcher,
        keep_summary: bool = True,
    ) -> None:
        self._store = store
        self._client_for = client_for
        self._dispatcher = dispatcher
        self._keep_summary = keep_summary

    def submit(self, outgoing: Sequence[Outgoing], *, task_id: str) -> SubmitAnswer:
        """Register, submit, and dispatch what the proxy said; see `SubmitAnswer`.

        May be called again with the same messages after any crash: what the proxy is known to have is not submitted
        again, and what was not yet dispatched is dispatched. Raises `StoreError`, and kombu's `OperationalError`; and
        `DamagedRecord` for messages whose records cannot be read, once all others have been submitted.
        """
        begun_at = utcnow()
        try:
            kept = self.register(outgoing, task_id=task_id)
        except DamagedRecord as exc:
            # It costs its own message only, which waits until the record is mended.
            if sound := [out for out in outgoing if out.message.message_id not in exc.message_ids]:
                self.submit(sound, task_id=task_id)
            raise
        return self.submit_registered(outgoing, kept, task_id=task_id, begun_at=begun_at)

    def register(self, outgoing: Sequence[Outgoing], *, task_id: str) -> list[Delivery]:
        """Keep a delivery for each message; the answer is what is kept, which may be older (see `DeliveryStore`)."""
        # Before the submission: a report may overtake its answer.
        try:
            return self._store.register([self._delivery(out, task_id) for out in outgoing])
        except DamagedRecord as exc:
            note_damaged(self._store, dict.fromkeys(exc.message_ids, exc.problem))
            raise

    def submit_registered(
        self,
        outgoing: Sequence[Outgoing],
        kept: Sequence[Delivery],
        *,
        task_id: str,
        begun_at: datetime,
        ends: Callable[[str, ProxyRequestError], bool] = lambda message_id, error: True,
    ) -> SubmitAnswer:
        """The rest of `submit`, for messages that have been registered.

        What was registered before `begun_at` may have been submitted already: the proxy is asked for it first. `ends`
        says whether a message that met this error has ended; the caller knows another way for the others.
        """
        known, answer = self._hand_over(outgoing, kept, begun_at)
        failed = {message_id: error for message_id, error in answer.failed.items() if ends(message_id, error)}
        self._notify(replace(answer, failed=failed), known.accepted, _undispatched(kept), task_id=task_id)
        return known + answer

    def submit_suspending(
        self, out: Outgoing, kept: Delivery, *, task_id: str, begun_at: datetime
    ) -> tuple[SubmitAnswer, Advanced | None]:
        """`submit_registered` for a message whose result waits for it.

        The store's answer to `Step.SUBMITTED` comes along where that could be asked for on the same trip, else None.
        """
        known, answer = self._hand_over([out], [kept], begun_at)
        undispatched = _undispatched([kept])
        if answer.accepted and not undispatched:
            moved = self._dispatcher.confirm(_report(Kind.QUEUED, kept.message_id), token=task_id)
            if moved is not None:
                return answer, moved
        self._notify(answer, known.accepted, undispatched, task_id=task_id)
        return known + answer, None

    def _hand_over(
        self, outgoing: Sequence[Outgoing], kept: Sequence[Delivery], begun_at: datetime
    ) -> tuple[SubmitAnswer, SubmitAnswer]:
        """What was known of some of the messages, and the proxy's answer for the others."""
        known = SubmitAnswer()
        to_submit: list[MailMessage] = []
        submitted_before: set[str] = set()
        for out, delivery in zip(outgoing, kept, strict=True):
            is_same = (delivery.tenant_id, delivery.server) == self._place(out.message)
            if not is_same:
                known += SubmitAnswer(rejected={delivery.message_id: ID_IN_USE})
            elif delivery.status is Status.NEW:
                to_submit.append(out.message)
                submitted_before |= {delivery.message_id} if delivery.created_at < begun_at else set()
            else:
                known += _known_answer(delivery)
        answer = SubmitAnswer()
        for server in sorted({message.server for message in to_submit}):
            messages = [message for message in to_submit if message.server == server]
            answer += self._submit_to(server, messages, submitted_before)
        return known, answer

    def give_up(self, message_ids: Iterable[str], reason: str, *, task_id: str) -> list[str]:
        """End those messages as `error` of which nothing has been heard; the ids of those that have ended so."""
        ids = list(message_ids)
        for message_id in ids:
            logger.error("message %s is given up: %s", message_id, redact(reason))
        reports = [_report(Kind.ERROR, each, reason) for each in ids]
        self._dispatcher.dispatch(reports, only_new=True)
        kept = {message_id: self._store.get(message_id) for message_id in ids}
        return [message_id for message_id, delivery in kept.items() if delivery and not _has_proxy(delivery)]

    def refuse(self, message_id: str, callbacks: Callbacks, reason: str, *, task_id: str) -> None:
        """End a message as `rejected` that could not even be built, so that its callbacks learn of it."""
        logger.error("message %s is refused: %s", message_id, redact(reason))
        now = utcnow()
        delivery = Delivery(message_id=message_id, created_at=now, updated_at=now, callbacks=callbacks, task_id=task_id)
        (kept,) = self._store.register([delivery])
        if kept.task_id == task_id:
            self._dispatcher.dispatch([_report(Kind.REJECTED, message_id, reason)])

    def _submit_to(self, server: str, messages: Sequence[MailMessage], submitted_before: set[str]) -> SubmitAnswer:
        client = self._client_for(server)
        payloads, answer = self._encoded(messages)
        try:
            held = _held(client, payloads, submitted_before)
            answer += SubmitAnswer(accepted=tuple(held))
            payloads = [payload for payload in payloads if payload["id"] not in held]
            if payloads:
                answer += client.submit(payloads)
        except ProxyRequestError as exc:
            answer += SubmitAnswer(failed=dict.fromkeys((payload["id"] for payload in payloads), exc))
        except ProxyUnavailable as exc:
            answer += SubmitAnswer(unsettled=dict.fromkeys((payload["id"] for payload in payloads), exc))
        return answer

    def _encoded(self, messages: Sequence[MailMessage]) -> tuple[list[Mapping[str, Any]], SubmitAnswer]:
        """What the proxy is to get, and the refusal of what cannot be encoded."""
        payloads: list[Mapping[str, Any]] = []
        refused: dict[str, str] = {}
        for message in messages:
            try:
                payloads.append(self._payload(message))
            except InvalidMessage as exc:
                refused[message.message_id] = str(exc.redacted())
        return payloads, SubmitAnswer(rejected=refused)

    def _payload(self, message: MailMessage) -> Mapping[str, Any]:
        server = self._client_for(message.server).server
        defaults = {"tenant_id": server.tenant, "account_id": server.account}
        return {**{name: value for name, value in defaults.items() if value}, **encode(message)}

    def _delivery(self, out: Outgoing, task_id: str) -> Delivery:
        message = out.message
        tenant_id, server = self._place(message)
        now = utcnow()
        return Delivery(
            message_id=message.message_id,
            created_at=now,
            updated_at=now,
            callbacks=out.callbacks,
            task_id=task_id,
            tenant_id=tenant_id,
            account_id=message.account_id or self._client_for(server).server.account,
            server=server,
            batch_code=message.batch_code,
            summary=summary_of(message, keeps_envelope=self._store.keeps_envelope) if self._keep_summary else {},
            suspension=out.suspension,
            members=out.members,
            parent_id=out.parent_id,
        )

    def _place(self, message: MailMessage) -> tuple[str | None, str]:
        """The tenant and the server a message goes to: within them its id is its own."""
        return message.tenant_id or self._client_for(message.server).server.tenant, message.server

    def _notify(
        self, answer: SubmitAnswer, known: Iterable[str], undispatched: Iterable[DeliveryReport], *, task_id: str
    ) -> None:
        reports = [_report(Kind.QUEUED, message_id) for message_id in (*answer.accepted, *known)]
        reports += [_report(Kind.REJECTED, message_id, reason) for message_id, reason in answer.rejected.items()]
        # Recorded by a run of this task that died before it dispatched them.
        reports += undispatched
        self._dispatcher.dispatch(reports)
        for message_id, error in answer.failed.items():
            self.give_up([message_id], str(error), task_id=task_id)


def _held(client: ProxyClient, payloads: Iterable[Mapping[str, Any]], submitted_before: set[str]) -> set[str]:
    """The ids of those submitted before that the proxy has: a lost answer is no reason to send them again."""
    asked = (payload for payload in payloads if payload["id"] in submitted_before)
    return {payload["id"] for payload in asked if client.holds(payload["id"], payload.get("tenant_id"))}


def _known_answer(delivery: Delivery) -> SubmitAnswer:
    """What an earlier submission came to. An id that has ended is not sent again: a new mail takes a new id."""
    if _has_proxy(delivery):
        return SubmitAnswer(accepted=(delivery.message_id,))
    return SubmitAnswer(rejected={delivery.message_id: delivery.reason or "given up earlier"})


def _has_proxy(delivery: Delivery) -> bool:
    """Whether the proxy is known to have the message, or to have had it."""
    return any(
        entry.report.kind is Kind.QUEUED or (entry.report.raw and entry.report.kind is not Kind.REJECTED)
        for entry in delivery.history
    )


def _undispatched(kept: Iterable[Delivery]) -> list[DeliveryReport]:
    """What was found out by an earlier run, and not dispatched. The proxy's own reports have a task of their own."""
    entries = (entry for delivery in kept for entry in delivery.history if is_undispatched(entry))
    return [entry.report for entry in entries if not entry.report.raw]


def _report(kind: Kind, message_id: str, reason: str | None = None) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id=message_id, at=utcnow(), reason=reason)


def submitter_of(runtime: Runtime) -> Submitter:
    """The app's submitter in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Submitter:
    return Submitter(
        store=runtime.store,
        client_for=runtime.client,
        dispatcher=dispatcher_of(runtime),
        keep_summary=runtime.settings.store_summary,
    )
