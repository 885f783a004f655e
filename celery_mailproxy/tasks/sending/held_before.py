"""`held_before`, `unless_held`: what the proxy has from an earlier try, and is neither sent again nor held back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import ProxyRequestError, ProxyUnavailable
from ...proxy.api import ProxyAPI, SubmitAnswer
from ...proxy.client import ProxyClient
from ...proxy.held import answer_of

__all__ = ["held_before", "unless_held"]


def held_before(
    client: ProxyClient, payloads: Sequence[Mapping[str, Any]], submitted_before: Mapping[str, str | None]
) -> SubmitAnswer:
    """Those submitted before that the proxy has: a lost answer is no reason to send them again.

    `submitted_before` has the account that each was to be sent through then, by message id. Where the proxy does not
    say so of one, that one is unsettled; raises `ProxyUnavailable` where that concerns them all.
    """
    answer = SubmitAnswer()
    asked: dict[str, list[str]] = {}
    for payload in payloads:
        message_id, tenant_id = payload["id"], payload.get("tenant_id")
        if message_id in submitted_before and tenant_id and _is_asked(client.api, payload, submitted_before):
            asked.setdefault(tenant_id, []).append(message_id)
    for tenant_id, ids in asked.items():
        # Of the ended ones the submission itself tells, but where it must not be made.
        found, unsaid = client.find_each(tenant_id, ids, pending_only=not client.api.resubmission_is_unsafe)
        answer += answer_of(found.values()) + SubmitAnswer(unsettled=unsaid)
    return answer


def unless_held(
    client_of: Callable[[], ProxyClient], answer: SubmitAnswer, submitted_before: Mapping[str, str | None]
) -> SubmitAnswer:
    """What we have decided ourselves, but for messages that the proxy has from an earlier try: it is too late for them.

    `submitted_before` has their tenants, by message id. Where the proxy does not say so of one, that one is unsettled.
    `client_of` may raise `ProxyUnavailable`, and is not called where there is nothing to ask.
    """
    late: dict[str, list[str]] = {}
    for message_id in (*answer.rejected, *answer.unsettled):
        if tenant_id := submitted_before.get(message_id):
            late.setdefault(tenant_id, []).append(message_id)
    for tenant_id, ids in late.items():
        try:
            found, unsaid = client_of().find_each(tenant_id, ids)
        except ProxyUnavailable as exc:
            found, unsaid = {}, dict.fromkeys(ids, exc)
        except ProxyRequestError as exc:
            # What was refused is our question, and not the mail.
            found, unsaid = {}, dict.fromkeys(ids, ProxyUnavailable(exc.problem, status=exc.status))
        known = answer_of(found.values()) + SubmitAnswer(unsettled=unsaid)
        answer = _without(answer, {*found, *unsaid}) + known
    return answer


def _without(answer: SubmitAnswer, ids: set[str]) -> SubmitAnswer:
    return replace(
        answer,
        rejected={each: reason for each, reason in answer.rejected.items() if each not in ids},
        kinds={each: kind for each, kind in answer.kinds.items() if each not in ids},
        unsettled={each: error for each, error in answer.unsettled.items() if each not in ids},
    )


def _is_asked(api: ProxyAPI, payload: Mapping[str, Any], submitted_before: Mapping[str, str | None]) -> bool:
    if api.resubmission_is_unsafe:
        return True
    account = submitted_before[payload["id"]]
    # The account of the settings is another one by now, and the proxy may not know it.
    return api.refusal_spoils_pending and account is not None and account != payload.get("account_id")
