"""`held_before`: which messages the proxy is not to be asked to take again, since it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...proxy.api import ProxyAPI, SubmitAnswer
from ...proxy.client import ProxyClient
from ...proxy.held import answer_of

__all__ = ["held_before"]


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


def _is_asked(api: ProxyAPI, payload: Mapping[str, Any], submitted_before: Mapping[str, str | None]) -> bool:
    if api.resubmission_is_unsafe:
        return True
    account = submitted_before[payload["id"]]
    # The account of the settings is another one by now, and the proxy may not know it.
    return api.refusal_spoils_pending and account is not None and account != payload.get("account_id")
