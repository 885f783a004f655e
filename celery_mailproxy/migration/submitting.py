"""Submission with a fallback: mails that the proxy surely has not got may be sent through the legacy transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..conf.settings import MigrationSettings
from ..deliveries.delivery import Delivery, Status
from ..deliveries.report import utcnow
from ..errors import MailProxyError, ProxyRequestError, ProxyUnavailable
from ..proxy.api import SubmitAnswer
from ..runtime import Runtime
from ..tasks.sending.outgoing import Outgoing
from ..tasks.sending.submitter import submitter_of
from .breaker import get_breaker

__all__ = ["Submission", "submit"]

#: The proxy does not know us, and has read no further.
_UNAUTHENTICATED = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """`answer` is the proxy's; `fallback_ids` are those of mails that it surely has not got."""

    answer: SubmitAnswer
    fallback_ids: frozenset[str]


def submit(runtime: Runtime, outgoing: Sequence[Outgoing], *, task_id: str) -> Submission:
    """Register and submit. Raises `StoreError`, and kombu's `OperationalError`.

    A mail falls back only in the very run that has registered it, and with `fallback: "unreachable"` only: of a mail
    that was tried before, nobody knows whether the proxy has it.
    """
    begun_at = utcnow()
    kept = submitter_of(runtime).register(outgoing, task_id=task_id)
    answer, fallback_ids = SubmitAnswer(), frozenset[str]()
    for server in sorted({out.message.server for out in outgoing}):
        pairs = [(out, each) for out, each in zip(outgoing, kept, strict=True) if out.message.server == server]
        part = _submit_to(runtime, server, pairs, task_id=task_id, begun_at=begun_at)
        answer, fallback_ids = answer + part.answer, fallback_ids | part.fallback_ids
    return Submission(answer=answer, fallback_ids=fallback_ids)


def _submit_to(
    runtime: Runtime, server: str, pairs: Sequence[tuple[Outgoing, Delivery]], *, task_id: str, begun_at: datetime
) -> Submission:
    settings = runtime.settings.migration or MigrationSettings()
    if settings.fallback == "never":
        outgoing, kept = [out for out, _ in pairs], [each for _, each in pairs]
        answer = submitter_of(runtime).submit_registered(outgoing, kept, task_id=task_id, begun_at=begun_at)
        return Submission(answer=answer, fallback_ids=frozenset())
    fresh = frozenset(
        each.message_id
        for _, each in pairs
        if each.status is Status.NEW and each.created_at >= begun_at and each.task_id == task_id
    )
    breaker = get_breaker(runtime, server)
    is_new = any(each.status is Status.NEW for _, each in pairs)
    if is_new and not breaker.allows():
        return _kept_away(runtime, pairs, fresh, task_id=task_id, begun_at=begun_at)
    answer = submitter_of(runtime).submit_registered(
        [out for out, _ in pairs],
        [each for _, each in pairs],
        task_id=task_id,
        begun_at=begun_at,
        ends=lambda message_id, error: not _is_refusal(error),
    )
    if is_new:
        _learn(runtime, server, answer)
    errors = {**answer.failed, **answer.unsettled}
    refused = {message_id: error for message_id, error in errors.items() if _is_refusal(error)}
    return _split(answer, refused, fresh)


def _kept_away(
    runtime: Runtime,
    pairs: Sequence[tuple[Outgoing, Delivery]],
    fresh: frozenset[str],
    *,
    task_id: str,
    begun_at: datetime,
) -> Submission:
    """What becomes of mails while the breaker is open."""
    known = [(out, each) for out, each in pairs if each.status is not Status.NEW]
    answer = submitter_of(runtime).submit_registered(
        [out for out, _ in known], [each for _, each in known], task_id=task_id, begun_at=begun_at
    )
    waiting = [each.message_id for _, each in pairs if each.status is Status.NEW and each.message_id not in fresh]
    closed = ProxyUnavailable("the proxy is not tried for a while, since it could not be reached")
    return Submission(answer=answer + SubmitAnswer(unsettled=dict.fromkeys(waiting, closed)), fallback_ids=fresh)


def _is_refusal(error: MailProxyError) -> bool:
    """Whether the proxy surely has not got what met this error."""
    if isinstance(error, ProxyUnavailable):
        return not error.maybe_accepted
    return isinstance(error, ProxyRequestError) and error.status in _UNAUTHENTICATED


def _learn(runtime: Runtime, server: str, answer: SubmitAnswer) -> None:
    """Tell the breaker how it went. What is the mail's own fault says nothing of the proxy."""
    breaker = get_breaker(runtime, server)
    troubles: list[MailProxyError] = [
        *answer.unsettled.values(),
        *(error for error in answer.failed.values() if error.status in _UNAUTHENTICATED),
    ]
    if troubles and not answer.accepted:
        breaker.failed(str(troubles[0]))
    else:
        breaker.succeeded()


def _split(answer: SubmitAnswer, refused: Mapping[str, MailProxyError], fresh: frozenset[str]) -> Submission:
    """Of what was refused the fresh ones fall back; the others wait until the proxy is available again."""
    waiting = {
        message_id: error if isinstance(error, ProxyUnavailable) else ProxyUnavailable(str(error))
        for message_id, error in refused.items()
        if message_id not in fresh
    }
    rest = SubmitAnswer(
        accepted=answer.accepted,
        rejected=answer.rejected,
        failed={message_id: error for message_id, error in answer.failed.items() if message_id not in refused},
        unsettled={message_id: error for message_id, error in answer.unsettled.items() if message_id not in refused},
    )
    return Submission(answer=rest + SubmitAnswer(unsettled=waiting), fallback_ids=fresh & refused.keys())
