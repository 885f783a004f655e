"""Submission with a fallback: mails that the proxy surely has not got may be sent through the legacy transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from ..conf.settings import MigrationSettings
from ..deliveries.delivery import Delivery, Status
from ..deliveries.report import utcnow
from ..errors import MailProxyError, ProxyUnavailable, UnforeseenError
from ..proxy.answers import COME_AGAIN
from ..proxy.api import SubmitAnswer
from ..runtime import Runtime
from ..tasks.sending.outgoing import Outgoing
from ..tasks.sending.submitter import submitter_of
from ..tasks.sending.unforeseen import FORESEEN, apart
from .breaker import get_breaker

__all__ = ["Submission", "submit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """`answer` is the proxy's; `fallback_ids` are those of mails that it surely has not got."""

    answer: SubmitAnswer
    fallback_ids: frozenset[str] = frozenset()

    def __add__(self, other: Submission) -> Submission:
        return Submission(answer=self.answer + other.answer, fallback_ids=self.fallback_ids | other.fallback_ids)


def submit(runtime: Runtime, outgoing: Sequence[Outgoing], *, task_id: str) -> Submission:
    """Register and submit. Raises what is `FORESEEN`; any other error leaves those mails unsettled that it concerns.

    A mail falls back only in the very run that has registered it, and with `fallback: "unreachable"` only: of a mail
    that was tried before, nobody knows whether the proxy has it.
    """
    try:
        return _submit(runtime, outgoing, task_id=task_id)
    except FORESEEN:
        raise
    except Exception as exc:
        return apart(exc, outgoing, partial(submit, runtime, task_id=task_id), _unsettled)


def _unsettled(errors: Mapping[str, UnforeseenError]) -> Submission:
    return Submission(answer=SubmitAnswer(unsettled=errors))


def _submit(runtime: Runtime, outgoing: Sequence[Outgoing], *, task_id: str) -> Submission:
    begun_at = utcnow()
    kept = submitter_of(runtime).register(outgoing, task_id=task_id)
    submission = Submission(answer=SubmitAnswer())
    for server in sorted({out.message.server for out in outgoing}):
        pairs = [(out, each) for out, each in zip(outgoing, kept, strict=True) if out.message.server == server]
        submission += _submit_to(runtime, server, pairs, task_id=task_id, begun_at=begun_at)
    return submission


def _submit_to(
    runtime: Runtime, server: str, pairs: Sequence[tuple[Outgoing, Delivery]], *, task_id: str, begun_at: datetime
) -> Submission:
    settings = runtime.settings.migration or MigrationSettings()
    if settings.fallback == "never":
        outgoing, kept = [out for out, _ in pairs], [each for _, each in pairs]
        answer = submitter_of(runtime).submit_registered(outgoing, kept, task_id=task_id, begun_at=begun_at)
        return Submission(answer=answer)
    fresh = frozenset(
        each.message_id
        for _, each in pairs
        if _is_waiting(each) and each.created_at >= begun_at and each.task_id == task_id
    )
    breaker = get_breaker(runtime, server)
    is_new = any(_is_waiting(each) for _, each in pairs)
    if is_new and not breaker.allows():
        return _kept_away(runtime, pairs, fresh, task_id=task_id, begun_at=begun_at)
    answer = submitter_of(runtime).submit_registered(
        [out for out, _ in pairs],
        [each for _, each in pairs],
        task_id=task_id,
        begun_at=begun_at,
    )
    if is_new:
        _learn(runtime, server, answer)
    refused = {message_id for message_id, error in answer.unsettled.items() if _is_refusal(error)}
    fallback_ids = fresh & refused
    unsettled = {message_id: error for message_id, error in answer.unsettled.items() if message_id not in fallback_ids}
    return Submission(answer=replace(answer, unsettled=unsettled), fallback_ids=fallback_ids)


def _kept_away(
    runtime: Runtime,
    pairs: Sequence[tuple[Outgoing, Delivery]],
    fresh: frozenset[str],
    *,
    task_id: str,
    begun_at: datetime,
) -> Submission:
    """What becomes of mails while the breaker is open."""
    known = [(out, each) for out, each in pairs if not _is_waiting(each)]
    submitter_of(runtime).take_back([each for _, each in pairs if _is_waiting(each)])
    answer = submitter_of(runtime).submit_registered(
        [out for out, _ in known], [each for _, each in known], task_id=task_id, begun_at=begun_at
    )
    waiting = [each.message_id for _, each in pairs if _is_waiting(each) and each.message_id not in fresh]
    closed = ProxyUnavailable("the proxy is not tried for a while, since it could not be reached")
    return Submission(answer=answer + SubmitAnswer(unsettled=dict.fromkeys(waiting, closed)), fallback_ids=fresh)


def _is_waiting(delivery: Delivery) -> bool:
    """Whether nothing has been heard of the mail, and it may be sent."""
    return delivery.status is Status.NEW and not delivery.is_withdrawn


def _is_refusal(error: MailProxyError) -> bool:
    """Whether the proxy surely has not got what met this error, and did not ask to come again with it."""
    return isinstance(error, ProxyUnavailable) and not error.maybe_accepted and error.status not in COME_AGAIN


def _learn(runtime: Runtime, server: str, answer: SubmitAnswer) -> None:
    """Tell the breaker how it went. What is the mail's own fault says nothing of the proxy."""
    breaker = get_breaker(runtime, server)
    troubles = [error for error in answer.unsettled.values() if isinstance(error, ProxyUnavailable)]
    if troubles and not answer.accepted:
        breaker.failed(str(troubles[0]))
    else:
        breaker.succeeded()
