"""`Submitter`: from validated messages to the proxy, recorded first, and dispatched after."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from ...conf.settings import ServerSettings
from ...deliveries.delivery import Delivery, is_undispatched
from ...deliveries.leaving import UNCLEAR, new_run
from ...deliveries.report import DeliveryReport, Kind, utcnow
from ...deliveries.stores.base import Advanced, DeliveryStore
from ...deliveries.stores.damage import note_damaged
from ...deliveries.suppression import digests_of
from ...dispatch.dispatcher import Dispatcher, dispatcher_of
from ...errors import DamagedRecord, ProxyUnavailable, StoreError, UnforeseenError, redact, visible
from ...mail.message import MailMessage
from ...mail.recipients import keys_of
from ...mail.summary import summary_of
from ...proxy.api import SubmitAnswer
from ...runtime import Runtime
from .callbacks import Callbacks
from .gate import gate_of
from .handover import Handover, has_proxy
from .outgoing import Outgoing
from .troubles import troubles_of
from .unforeseen import FORESEEN, apart

__all__ = ["Submitter", "submitter_of"]

logger = logging.getLogger(__name__)


class Submitter:
    """Submits messages, each once however often it is asked to.

    `server_for` gives the settings of a server's name. With `keep_digests` a delivery knows its recipients again, also
    where the store does not keep them: see `SuppressionNotes`.
    """

    def __init__(
        self,
        *,
        store: DeliveryStore,
        server_for: Callable[[str], ServerSettings],
        handover: Handover,
        dispatcher: Dispatcher,
        keep_summary: bool = True,
        keep_digests: bool = False,
    ) -> None:
        self._store = store
        self._server_for = server_for
        self._handover = handover
        self._dispatcher = dispatcher
        self._keep_summary = keep_summary
        self._keep_digests = keep_digests

    def submit(self, outgoing: Sequence[Outgoing], *, task_id: str) -> SubmitAnswer:
        """Register, submit, and dispatch what the proxy said; see `SubmitAnswer`.

        May be called again with the same messages after any crash: what the proxy is known to have is not submitted
        again, and what was not yet dispatched is dispatched. Raises what is `FORESEEN`, `DamagedRecord` among it once
        all messages have been submitted whose records can be read; any other error leaves those messages unsettled
        that it concerns.
        """
        begun_at = utcnow()
        try:
            kept = self.register(outgoing, task_id=task_id)
        except DamagedRecord as exc:
            # It costs its own message only, which waits until the record is fixed.
            if sound := [out for out in outgoing if out.message.message_id not in exc.message_ids]:
                self.submit(sound, task_id=task_id)
            raise
        except FORESEEN:
            raise
        except Exception as exc:
            return apart(exc, outgoing, partial(self.submit, task_id=task_id), _unsettled)
        return self.submit_registered(outgoing, kept, task_id=task_id, begun_at=begun_at)

    def register(self, outgoing: Sequence[Outgoing], *, task_id: str) -> list[Delivery]:
        """Keep a delivery for each message; the answer is what is kept, which may be older (see `DeliveryStore`)."""
        # Before the submission: a report may overtake its answer, and who cancels a mail has to know.
        run = new_run()
        try:
            return self._store.register([self._delivery(out, task_id, run) for out in outgoing])
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
    ) -> SubmitAnswer:
        """The rest of `submit`, for messages that have been registered.

        What was registered before `begun_at` may have been submitted already: the proxy is asked for it first.
        """
        try:
            known, answer = self._handover.hand_over(outgoing, kept, begun_at)
            self.take_back([each for each in kept if _surely_missed(answer.unsettled.get(each.message_id))])
            self._notify(answer, known.accepted, _undispatched(kept), task_id=task_id)
        except FORESEEN:
            raise
        except Exception as exc:
            # `submit` looks at each anew: some may have been accepted by now, whatever it meets itself.
            answer = apart(exc, outgoing, partial(self.submit, task_id=task_id), _unsettled)
            for error in answer.unsettled.values():
                if isinstance(error, ProxyUnavailable):
                    error.maybe_accepted = True
            return answer
        return known + answer

    def submit_suspending(
        self, out: Outgoing, kept: Delivery, *, task_id: str, begun_at: datetime
    ) -> tuple[SubmitAnswer, Advanced | None]:
        """`submit_registered` for a message whose result waits for it.

        The store's answer to `Step.SUBMITTED` comes along where that could be asked for on the same trip, else None.
        """
        known, answer = self._handover.hand_over([out], [kept], begun_at)
        if _surely_missed(answer.unsettled.get(kept.message_id)):
            self.take_back([kept])
        undispatched = _undispatched([kept])
        if answer.accepted and not undispatched:
            note = answer.notes.get(kept.message_id)
            moved = self._dispatcher.confirm(_report(Kind.QUEUED, kept.message_id, note), token=task_id)
            if moved is not None:
                return answer, moved
        self._notify(answer, known.accepted, undispatched, task_id=task_id)
        return known + answer, None

    def submit_again(self, out: Outgoing, delivery: Delivery) -> SubmitAnswer:
        """Submit a message that the proxy had taken, and has not any more. Nothing is recorded of the answer."""
        return self._handover.hand_over_again(out.message, delivery)

    def take_back(self, kept: Iterable[Delivery]) -> None:
        """Note that a run has not brought these mails to the proxy, which it registered so. Raises no `StoreError`."""
        runs: dict[str, list[str]] = {}
        for delivery in kept:
            # Of a mail that is withdrawn the run that is noted is an earlier one.
            if delivery.run not in ("", UNCLEAR) and not delivery.is_withdrawn:
                runs.setdefault(delivery.run, []).append(delivery.message_id)
        for run, message_ids in runs.items():
            # Who cancels one of them is told less than is known.
            with suppress(StoreError):
                self._store.take_back(message_ids, run)

    def give_up(
        self,
        message_ids: Iterable[str],
        reason: str,
        *,
        task_id: str,
        callbacks: Mapping[str, Callbacks] | None = None,
        parent_id: str | None = None,
    ) -> list[str]:
        """End those messages as `error` of which nothing has been heard; the ids of those that the proxy has not.

        `callbacks` are, by message id, those of messages that need not have been registered: now they are. Of the
        others, what is unknown gets no end.
        """
        ids = list(message_ids)
        if callbacks:
            self._register_bare(ids, callbacks, task_id, parent_id)
        for message_id in ids:
            logger.error("message %s is given up: %s", visible(message_id), redact(reason))
        reports = [_report(Kind.ERROR, each, reason) for each in ids]
        self._dispatcher.dispatch(reports, only_new=True)
        kept = zip(ids, self._store.get_many(ids), strict=True)
        return [message_id for message_id, delivery in kept if delivery is None or not has_proxy(delivery)]

    def refuse(self, message_id: str, callbacks: Callbacks, reason: str, *, task_id: str) -> None:
        """End a message as `rejected` that could not even be built, so that its callbacks learn of it."""
        logger.error("message %s is refused: %s", visible(message_id), redact(reason))
        (kept,) = self._store.register([_bare(message_id, callbacks, task_id)])
        if kept.task_id == task_id:
            self._dispatcher.dispatch([_report(Kind.REJECTED, message_id, reason)])

    def _register_bare(
        self, ids: Sequence[str], callbacks: Mapping[str, Callbacks], task_id: str, parent_id: str | None
    ) -> None:
        pairs = zip(ids, self._store.get_many(ids), strict=True)
        absent = [each for each, kept in pairs if each in callbacks and (kept is None or not kept.is_known)]
        if absent:
            self._store.register([_bare(each, callbacks[each], task_id, parent_id) for each in absent])

    def _delivery(self, out: Outgoing, task_id: str, run: str) -> Delivery:
        message = out.message
        tenant_id, server = self._handover.place(message)
        now = utcnow()
        return Delivery(
            message_id=message.message_id,
            created_at=now,
            updated_at=now,
            callbacks=out.callbacks,
            task_id=task_id,
            tenant_id=tenant_id,
            account_id=message.account_id or self._server_for(server).account,
            server=server,
            batch_code=message.batch_code,
            metadata=message.metadata,
            tags=message.tags,
            expires_at=message.expires_moment,
            run=run,
            summary=self._summary(message),
            suspension=out.suspension,
            members=out.members,
            parent_id=out.parent_id,
        )

    def _summary(self, message: MailMessage) -> Mapping[str, Any]:
        summary = summary_of(message, keeps_envelope=self._store.keeps_envelope) if self._keep_summary else {}
        return {**summary, **digests_of(message.message_id, keys_of(message))} if self._keep_digests else summary

    def _notify(
        self, answer: SubmitAnswer, known: Iterable[str], undispatched: Iterable[DeliveryReport], *, task_id: str
    ) -> None:
        reports = [_report(Kind.QUEUED, each, answer.notes.get(each)) for each in (*answer.accepted, *known)]
        reports += [
            _report(answer.kinds.get(message_id, Kind.REJECTED), message_id, reason)
            for message_id, reason in answer.rejected.items()
        ]
        # Recorded by a run of this task that died before it dispatched them.
        reports += undispatched
        self._dispatcher.dispatch(reports)
        for message_id, error in answer.failed.items():
            self.give_up([message_id], str(error), task_id=task_id)


def _surely_missed(error: Exception | None) -> bool:
    """Whether the proxy surely has not got what met this error."""
    return isinstance(error, ProxyUnavailable) and not error.maybe_accepted


def _unsettled(errors: Mapping[str, UnforeseenError]) -> SubmitAnswer:
    return SubmitAnswer(unsettled=errors)


def _bare(message_id: str, callbacks: Callbacks, task_id: str, parent_id: str | None = None) -> Delivery:
    """The delivery of a message that ends before it has been built."""
    now = utcnow()
    return Delivery(
        message_id=message_id,
        created_at=now,
        updated_at=now,
        callbacks=callbacks,
        task_id=task_id,
        parent_id=parent_id,
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
    settings = runtime.settings
    keeps_recipients = runtime.store.keeps_envelope and settings.store_summary and settings.log_recipients
    return Submitter(
        store=runtime.store,
        server_for=runtime.server,
        handover=Handover(
            server_for=runtime.server,
            client_for=runtime.client,
            troubles=troubles_of(runtime),
            bounce_address=settings.bounce_address,
            gate=gate_of(runtime),
        ),
        dispatcher=dispatcher_of(runtime),
        keep_summary=settings.store_summary,
        keep_digests=settings.suppression and not keeps_recipients,
    )
