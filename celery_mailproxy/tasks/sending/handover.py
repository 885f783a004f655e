"""`Handover`: messages and their payloads to the proxies, and what is known of them already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from ...conf.settings import ServerSettings
from ...deliveries.delivery import Delivery, Status
from ...deliveries.report import Kind
from ...errors import (
    ID_IN_USE,
    ConfigurationError,
    InvalidMessage,
    ProxyRequestError,
    ProxyUnavailable,
    UnforeseenError,
)
from ...mail.message import MailMessage
from ...mail.payload import encode
from ...mail.verp import verp_address
from ...proxy.api import HELD_BACK, SubmitAnswer
from ...proxy.client import ProxyClient
from .gate import WITHDRAWN, Gate, Withheld
from .held_before import held_before, unless_held
from .outgoing import Outgoing
from .troubles import Troubles
from .unforeseen import FORESEEN, unforeseen

__all__ = ["Handover", "has_proxy"]

#: Of these we know by ourselves that the proxy has, or had, the mail.
_SAY_IT_WENT = frozenset({Kind.QUEUED, Kind.BOUNCED, Kind.COMPLAINED})


@dataclass(slots=True)
class _Encoded:
    """What has come of messages so far: payloads for the proxy, and the others with what they met."""

    payloads: list[Mapping[str, Any]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    _kinds: dict[str, Kind] = field(default_factory=dict)
    _odd: dict[str, UnforeseenError] = field(default_factory=dict)

    @contextmanager
    def judging(self, message_id: str) -> Iterator[None]:
        """Whatever the block raises concerns this message alone, unless it is `FORESEEN`."""
        try:
            yield
        except Withheld as exc:
            self._refused[message_id], self._kinds[message_id] = exc.reason, exc.kind
        except InvalidMessage as exc:
            self._refused[message_id] = str(exc.redacted())
        except FORESEEN:
            raise
        except Exception as exc:
            self._odd[message_id] = unforeseen(exc, [message_id])

    @property
    def answer(self) -> SubmitAnswer:
        """What there is to say of them without the proxy."""
        return SubmitAnswer(rejected=self._refused, kinds=self._kinds, notes=self.notes, unsettled=self._odd)


class Handover:
    """Hands messages over to their proxies.

    `server_for` gives the settings of a server's name, `client_for` its `ProxyClient`; only the latter needs the files
    and the environment to be in order. `gate` has the last word on each message. `bounce_address` is the template of
    VERP addresses, if there is one.
    """

    def __init__(
        self,
        *,
        server_for: Callable[[str], ServerSettings],
        client_for: Callable[[str], ProxyClient],
        troubles: Troubles,
        gate: Gate,
        bounce_address: str | None = None,
    ) -> None:
        self._server_for = server_for
        self._client_for = client_for
        self._troubles = troubles
        self._gate = gate
        self._bounce_address = bounce_address

    def place(self, message: MailMessage) -> tuple[str | None, str]:
        """The tenant and the server a message goes to: within them its id is its own."""
        return message.tenant_id or self._server_for(message.server).tenant, message.server

    def hand_over(
        self, outgoing: Sequence[Outgoing], kept: Sequence[Delivery], begun_at: datetime
    ) -> tuple[SubmitAnswer, SubmitAnswer]:
        """What was known of some of the messages, and the proxy's answer for the others."""
        known, answer = SubmitAnswer(), SubmitAnswer()
        to_submit: list[tuple[MailMessage, Delivery]] = []
        submitted_before: dict[str, str | None] = {}
        for out, delivery in zip(outgoing, kept, strict=True):
            is_same = (delivery.tenant_id, delivery.server) == self.place(out.message)
            if not is_same:
                known += SubmitAnswer(rejected={delivery.message_id: ID_IN_USE})
            elif delivery.status is not Status.NEW:
                known += _known_answer(delivery)
            elif delivery.is_withdrawn and not delivery.run:
                # No run has brought it to the proxy: nobody needs to be asked.
                cancelled = {delivery.message_id: Kind.CANCELLED}
                answer += SubmitAnswer(rejected={delivery.message_id: WITHDRAWN}, kinds=cancelled)
            else:
                to_submit.append((out.message, delivery))
                if delivery.created_at < begun_at or delivery.is_withdrawn:
                    submitted_before[delivery.message_id] = delivery.account_id
        for server in sorted({message.server for message, _ in to_submit}):
            pairs = [pair for pair in to_submit if pair[0].server == server]
            answer += self._submit_to(server, pairs, submitted_before)
        return known, answer

    def hand_over_again(self, message: MailMessage, delivery: Delivery) -> SubmitAnswer:
        """The proxy's answer for a message that it had taken, and has not any more."""
        if (delivery.tenant_id, delivery.server) != self.place(message):
            return SubmitAnswer(rejected={delivery.message_id: ID_IN_USE})
        return self._submit_to(message.server, [(message, delivery)], {})

    def _submit_to(
        self,
        server: str,
        pairs: Sequence[tuple[MailMessage, Delivery]],
        submitted_before: Mapping[str, str | None],
    ) -> SubmitAnswer:
        payloads, unencoded = self._encoded(pairs)
        tenants = {each.message_id: each.tenant_id for _, each in pairs if each.message_id in submitted_before}
        unencoded = unless_held(partial(self._client, server), unencoded, tenants)
        answer = SubmitAnswer()
        try:
            client = self._client(server)
            answer = held_before(client, payloads, submitted_before)
            settled = {*answer.accepted, *answer.rejected, *answer.unsettled}
            payloads = [each for each in payloads if each["id"] not in settled]
            # Of those that left before, it was an earlier run that said who gets them.
            unencoded = replace(unencoded, notes={k: v for k, v in unencoded.notes.items() if k not in settled})
            if payloads:
                answer += client.submit(payloads)
        except ProxyRequestError as exc:
            answer += SubmitAnswer(failed=dict.fromkeys((payload["id"] for payload in payloads), exc))
        except ProxyUnavailable as exc:
            answer += SubmitAnswer(unsettled=dict.fromkeys((payload["id"] for payload in payloads), exc))
        self._troubles.note(server, answer)
        return unencoded + answer

    def _client(self, server: str) -> ProxyClient:
        """Raises `ProxyUnavailable` also where files or the environment are not in order."""
        try:
            return self._client_for(server)
        except ConfigurationError as exc:
            problem = str(exc).removesuffix(".")
            raise ProxyUnavailable(
                problem, maybe_accepted=False, remedy="The emails go on once this is right."
            ) from exc

    def _encoded(self, pairs: Sequence[tuple[MailMessage, Delivery]]) -> tuple[list[Mapping[str, Any]], SubmitAnswer]:
        """What the proxy is to get, and what becomes of the messages that are held back or cannot be encoded."""
        encoded = _Encoded()
        passed: list[MailMessage] = []
        for message, delivery in pairs:
            with encoded.judging(message.message_id):
                passed.append(self._gate.pass_through(message, delivery))
        suppressed = self._gate.suppressed(passed)
        for message in passed:
            with encoded.judging(message.message_id):
                spared, note = self._gate.spared(message, suppressed)
                encoded.payloads.append(self._payload(spared))
                if note is not None:
                    encoded.notes[message.message_id] = note
        return encoded.payloads, encoded.answer

    def _payload(self, message: MailMessage) -> Mapping[str, Any]:
        server = self._server_for(message.server)
        defaults = {"tenant_id": server.tenant, "account_id": server.account}
        # A message that names its envelope's sender keeps it.
        if self._bounce_address is not None and message.return_path is None:
            message = replace(message, return_path=verp_address(self._bounce_address, message.message_id))
        return {**{name: value for name, value in defaults.items() if value}, **encode(message)}


def _known_answer(delivery: Delivery) -> SubmitAnswer:
    """What an earlier submission came to. An id that has ended is not sent again: a new mail takes a new id."""
    if has_proxy(delivery):
        return SubmitAnswer(accepted=(delivery.message_id,))
    withheld = next((kind for kind in HELD_BACK if kind.value == delivery.status.value), None)
    return SubmitAnswer(
        rejected={delivery.message_id: delivery.reason or "given up earlier"},
        kinds={} if withheld is None else {delivery.message_id: withheld},
    )


def has_proxy(delivery: Delivery) -> bool:
    """Whether the proxy is known to have the message, or to have had it."""
    return any(
        entry.report.kind in _SAY_IT_WENT or (entry.report.raw and entry.report.kind is not Kind.REJECTED)
        for entry in delivery.history
    )
