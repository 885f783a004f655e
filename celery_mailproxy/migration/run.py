"""`MigrationRun`: one run of a task whose mails are sent through the proxy or the legacy transport, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ProxyUnavailable, UnforeseenError
from ..mail.message import MailMessage
from ..proxy.api import SubmitAnswer
from ..runtime import Runtime
from ..tasks.sending.outgoing import Outgoing
from ..tasks.sending.retrying import out_of_tries, reason_to_retry, retries_left
from ..tasks.sending.submitter import submitter_of
from .legacy import LegacyAnswer, LegacyMail, send_legacy
from .routing import LEGACY, Path, get_router, pinned_path
from .shadow import shadow
from .submitting import submit

__all__ = ["MigrationRun", "ProxyOutcome", "RunMail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMail:
    """A mail of the run. `outgoing` is None where it cannot be made for the proxy."""

    message_id: str
    outgoing: Outgoing | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyOutcome:
    """What became of the mails that were submitted.

    Those of `fallback_ids` are sent through the legacy transport instead. `retry` is why the run has to be repeated.
    Of the unsettled mails those of `given_up` have ended.
    """

    answer: SubmitAnswer
    fallback_ids: frozenset[str]
    retry: ProxyUnavailable | UnforeseenError | None = None
    given_up: frozenset[str] = frozenset()


class MigrationRun:
    """The steps of a run, in their order: `paths`, `submit`, `begin_fallback`, `send_legacy`, `shadow`.

    `has_own_limit` says whether the task's own `max_retries` bounds the retries of a mail, too.
    """

    def __init__(self, task: Any, runtime: Runtime, *, task_id: str, has_own_limit: bool) -> None:
        self._task = task
        self._runtime = runtime
        self._task_id = task_id
        self._has_own_limit = has_own_limit

    @property
    def has_retries(self) -> bool:
        """Whether the task may be tried again."""
        return retries_left(self._task, self._runtime, has_own_limit=self._has_own_limit)

    def paths(self, mails: Sequence[RunMail], *, share: float | None = None) -> dict[str, Path]:
        """Message id → PROXY or LEGACY. A mail that has begun goes on as it began. Raises `StoreError`."""
        known = self._runtime.store.get_many([mail.message_id for mail in mails])
        return {
            mail.message_id: pinned_path(delivery) or self._choose(mail, share)
            for mail, delivery in zip(mails, known, strict=True)
        }

    def _choose(self, mail: RunMail, share: float | None) -> Path:
        if mail.outgoing is None:
            return LEGACY
        return get_router(self._task.app).path_for(mail.outgoing.message, share=share)

    def submit(self, outgoing: Sequence[Outgoing]) -> ProxyOutcome:
        """Submit mails to the proxy. Raises what is `FORESEEN`."""
        submission = submit(self._runtime, outgoing, task_id=self._task_id)
        answer, fallback_ids = submission.answer, submission.fallback_ids
        ending = out_of_tries(self._task, self._runtime, answer.unsettled, has_own_limit=self._has_own_limit)
        callbacks = {out.message.message_id: out.callbacks for out in outgoing}
        given_up: set[str] = set()
        for message_id, error in ending.items():
            given_up |= set(
                submitter_of(self._runtime).give_up(
                    [message_id], f"given up: {error}", task_id=self._task_id, callbacks=callbacks
                )
            )
        waiting = {each: error for each, error in answer.unsettled.items() if each not in ending}
        # Of these a report has come meanwhile: an answer was lost, not the mail.
        found = tuple(each for each in ending if each not in given_up)
        unsettled = {each: error for each, error in answer.unsettled.items() if each not in found}
        return ProxyOutcome(
            answer=replace(answer, accepted=answer.accepted + found, unsettled=unsettled),
            fallback_ids=fallback_ids,
            retry=reason_to_retry(waiting) if waiting else None,
            given_up=frozenset(given_up),
        )

    def begin_fallback(self, mail: RunMail) -> None:
        """Note that the mail falls back, before it is sent: a next run is to know. Raises as `LegacyMail.begin`."""
        LegacyMail(self._runtime, message_id=mail.message_id, task_id=self._task_id, outgoing=mail.outgoing).begin()

    def send_legacy(
        self, mail: RunMail, transport: Callable[[MailMessage | None], Any], *, is_last_try: bool
    ) -> LegacyAnswer:
        """See `legacy.send_legacy`."""
        return send_legacy(
            self._runtime,
            message_id=mail.message_id,
            task_id=self._task_id,
            transport=transport,
            outgoing=mail.outgoing,
            is_last_try=is_last_try,
        )

    def shadow(self, mail: RunMail, answer: LegacyAnswer) -> None:
        """Try on the proxy what was sent just now through the legacy transport; see `shadow.shadow`."""
        if answer.is_news and mail.outgoing is not None:
            shadow(self._runtime, mail.outgoing)
