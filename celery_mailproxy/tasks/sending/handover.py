"""`Handover`: messages and their payloads to the proxies, and what is known of them already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ...deliveries.delivery import Delivery, Status
from ...deliveries.report import Kind
from ...errors import ID_IN_USE, InvalidMessage, ProxyRequestError, ProxyUnavailable
from ...mail.message import MailMessage
from ...mail.payload import encode
from ...proxy.api import SubmitAnswer
from ...proxy.client import ProxyClient
from .outgoing import Outgoing

__all__ = ["Handover", "has_proxy"]


class Handover:
    """Hands messages over to their proxies. `client_for` gives the `ProxyClient` of a server's name."""

    def __init__(self, *, client_for: Callable[[str], ProxyClient]) -> None:
        self._client_for = client_for

    def place(self, message: MailMessage) -> tuple[str | None, str]:
        """The tenant and the server a message goes to: within them its id is its own."""
        return message.tenant_id or self._client_for(message.server).server.tenant, message.server

    def hand_over(
        self, outgoing: Sequence[Outgoing], kept: Sequence[Delivery], begun_at: datetime
    ) -> tuple[SubmitAnswer, SubmitAnswer]:
        """What was known of some of the messages, and the proxy's answer for the others."""
        known = SubmitAnswer()
        to_submit: list[MailMessage] = []
        submitted_before: set[str] = set()
        for out, delivery in zip(outgoing, kept, strict=True):
            is_same = (delivery.tenant_id, delivery.server) == self.place(out.message)
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


def _held(client: ProxyClient, payloads: Iterable[Mapping[str, Any]], submitted_before: set[str]) -> set[str]:
    """The ids of those submitted before that the proxy has: a lost answer is no reason to send them again."""
    asked = (payload for payload in payloads if payload["id"] in submitted_before)
    return {payload["id"] for payload in asked if client.holds(payload["id"], payload.get("tenant_id"))}


def _known_answer(delivery: Delivery) -> SubmitAnswer:
    """What an earlier submission came to. An id that has ended is not sent again: a new mail takes a new id."""
    if has_proxy(delivery):
        return SubmitAnswer(accepted=(delivery.message_id,))
    return SubmitAnswer(rejected={delivery.message_id: delivery.reason or "given up earlier"})


def has_proxy(delivery: Delivery) -> bool:
    """Whether the proxy is known to have the message, or to have had it."""
    return any(
        entry.report.kind is Kind.QUEUED or (entry.report.raw and entry.report.kind is not Kind.REJECTED)
        for entry in delivery.history
    )
