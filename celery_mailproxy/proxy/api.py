"""What the HTTP APIs of genro-mail-proxy's releases have in common, as the client needs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..deliveries.report import Kind
from ..errors import (
    DeliveryCancelled,
    DeliveryError,
    DeliveryExpired,
    DeliverySuppressed,
    MessageRejected,
    ProxyRequestError,
    ProxyUnavailable,
    UnforeseenError,
)

__all__ = [
    "ALREADY_SENT",
    "HELD_BACK",
    "Call",
    "ProxyAPI",
    "SubmitAnswer",
    "UnreadableAnswer",
    "listed_of",
    "row",
    "rows",
]


class UnreadableAnswer(ValueError):
    """The body of an answer is not of the shape that the proxy gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request to the proxy."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitAnswer:
    """What became of a submission: every message id stands in exactly one of the four.

    `accepted`: the proxy has it (now, or since an earlier submission). `rejected`: id → reason, for good.
    `failed`: id → the proxy's refusal of a call with this message alone, which no retry fixes. `unsettled`: id → error;
    submit those again later, with the same id. `kinds`: how those end among the rejected that we ourselves held back.
    `notes`: what is to be remembered of some that are submitted.
    """

    accepted: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, ProxyRequestError] = field(default_factory=dict)
    unsettled: Mapping[str, ProxyUnavailable | UnforeseenError] = field(default_factory=dict)

    def __add__(self, other: SubmitAnswer) -> SubmitAnswer:
        return SubmitAnswer(
            accepted=self.accepted + other.accepted,
            rejected={**self.rejected, **other.rejected},
            kinds={**self.kinds, **other.kinds},
            notes={**self.notes, **other.notes},
            failed={**self.failed, **other.failed},
            unsettled={**self.unsettled, **other.unsettled},
        )

    def raise_for(self, message_id: str) -> None:
        """Raise what became of a message, unless it was accepted.

        `MessageRejected`, `DeliveryCancelled`, `DeliveryExpired`, `DeliverySuppressed`, or the error of its call.
        """
        if message_id in self.rejected:
            reason = self.rejected[message_id]
            if (held_back := HELD_BACK.get(self.kinds.get(message_id, Kind.REJECTED))) is not None:
                raise held_back(reason, None, message_id)
            raise MessageRejected(message_id, reason)
        error = self.failed.get(message_id) or self.unsettled.get(message_id)
        if error is not None:
            raise error


#: How a mail ends that we ourselves held back, and the error of that.
HELD_BACK: Mapping[Kind, type[DeliveryError]] = {
    Kind.CANCELLED: DeliveryCancelled,
    Kind.EXPIRED: DeliveryExpired,
    Kind.SUPPRESSED: DeliverySuppressed,
}


class ProxyAPI(ABC):
    """One of the proxy's HTTP dialects: where each call goes, and what its answer means."""

    name: ClassVar[str]
    #: The submission path, which tells the dialects apart; see `detection`.
    submit_path: ClassVar[str]
    #: What stands before every path, where the URL of the settings does not have it.
    base_path: ClassVar[str] = ""
    #: Whether attachments are fetched without the tenant's URL and credentials; see `attachment_credentials`.
    forgets_tenants: ClassVar[bool] = False
    #: Whether the ids of accounts are common to all tenants.
    shares_account_ids: ClassVar[bool] = False
    #: Whether a message that is being sent must not be submitted again. 0.7.0 reads its row and writes it back without
    #: a lock: it would be pending again, and sent twice.
    resubmission_is_unsafe: ClassVar[bool] = False
    #: Whether `get_message` shows one that ended as error as if it had been sent: then only the list tells.
    get_hides_errors: ClassVar[bool] = False
    #: Whether it loses the mails that an SMTP server defers; see `nested_mail`.
    nests_deferred: ClassVar[bool] = False
    #: Whether a tenant's sending can be suspended. 0.5.0 stops the reports of all tenants, and goes on sending.
    can_suspend: ClassVar[bool] = True
    #: Whether a message that is pending, and is refused when it is submitted again, is kept as it was refused: 0.6 and
    #: v1 then try it twice a second, with an account that they do not know, and never report it.
    refusal_spoils_pending: ClassVar[bool] = False

    def encode(self, call: Call) -> Call:
        """The call as it goes over the wire."""
        return call

    def submit(self, messages: Sequence[Mapping[str, Any]]) -> Call:
        """Submit messages, each as `payload.encode` gives it."""
        return Call(method="POST", path=self.submit_path, json={"messages": list(messages)})

    def read_submission(self, ids: Sequence[str], status: int, body: Any) -> SubmitAnswer | None:
        """The answer to a submission, or None where status and body are not one: only what looks like the proxy's is.

        That is a 200 with `ok` true, or a list `rejected` that is not empty, of objects with an id each.

        Judged by `rejected` and never by the count `queued`: 0.7.0 leaves a message that it has had an end for out of
        both, the other releases reject it as "already sent". It counts as accepted here; see `unsure`.
        """
        answer = self._submission_answer(status, body)
        refusals = None if answer is None else _refusals(answer)
        if answer is None or refusals is None:
            return None
        is_ok = status == 200 and answer.get("ok") is True
        if not is_ok and not refusals:
            return None
        rejected = {each: reason for each, reason in refusals.items() if each in ids and reason != ALREADY_SENT}
        # Where the call as a whole was no success, only what is said of a message counts.
        accepted = [each for each in ids if each not in rejected and (is_ok or each in refusals)]
        unsaid = [each for each in ids if not is_ok and each not in refusals]
        problem = ProxyUnavailable("the proxy's answer to the submission does not say what became of it", status=status)
        return SubmitAnswer(accepted=tuple(accepted), rejected=rejected, unsettled=dict.fromkeys(unsaid, problem))

    def unsure(self, ids: Sequence[str], status: int, body: Any) -> tuple[str, ...]:
        """Of the messages that `read_submission` has as accepted: those that may have ended as error long ago.

        Only the proxy's list tells.
        """
        return ()

    def _said(self, status: int, body: Any) -> dict[str, str]:
        """id → reason of what stands under `rejected`."""
        answer = self._submission_answer(status, body)
        return (None if answer is None else _refusals(answer)) or {}

    @abstractmethod
    def _submission_answer(self, status: int, body: Any) -> Mapping[str, Any] | None:
        """The object that holds `rejected`."""

    @abstractmethod
    def list_messages(self, tenant_id: str, *, pending_only: bool = False) -> Call:
        """The messages of a tenant that the proxy still holds, or those that it has yet to send."""

    @abstractmethod
    def read_messages(self, body: Any) -> list[dict[str, Any]]:
        """The messages in the answer to `list_messages`."""

    def get_message(self, tenant_id: str, message_id: str) -> Call | None:
        """One message; None where the API has only the list."""
        return None

    @abstractmethod
    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Call:
        """Take messages out of the proxy's queue."""

    @abstractmethod
    def suspend(self, tenant_id: str, batch_code: str | None = None) -> Call:
        """Stop sending for a tenant, or one of its batches. 0.5.0: for all tenants, and their reports stop, too."""

    @abstractmethod
    def activate(self, tenant_id: str, batch_code: str | None = None) -> Call:
        """Take up sending again: the inverse of `suspend`."""

    @abstractmethod
    def get_tenant(self, tenant_id: str) -> Call:
        """One tenant."""

    @abstractmethod
    def list_tenants(self) -> Call:
        """All tenants that the token may see."""

    @abstractmethod
    def read_tenants(self, body: Any) -> list[dict[str, Any]]:
        """The tenants in the answer to `list_tenants`."""

    @abstractmethod
    def add_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> Call:
        """Add a tenant, or replace all its fields."""

    @abstractmethod
    def change_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> Call:
        """Change these fields of a tenant."""

    @abstractmethod
    def list_accounts(self, tenant_id: str | None) -> Call:
        """The SMTP accounts of a tenant."""

    @abstractmethod
    def read_accounts(self, body: Any) -> list[dict[str, Any]]:
        """The accounts in the answer to `list_accounts`."""

    def get_account(self, tenant_id: str, account_id: str) -> Call | None:
        """One account with its password; None where the API shows it nowhere."""
        return None

    @abstractmethod
    def put_account(self, account: Mapping[str, Any]) -> Call:
        """Add an account, with `id` and `tenant_id` among its fields, or replace all of them."""

    def activity(self) -> Call | None:
        """Whether the proxy sends at all; None where the API has no such call."""
        return None

    @abstractmethod
    def run_now(self, tenant_id: str) -> Call:
        """Wake the proxy's send and report loops."""


#: What the commands APIs say of a message that they have sent, when it is submitted again.
ALREADY_SENT = "already sent"


def _refusals(answer: Mapping[str, Any]) -> dict[str, str] | None:
    """Message id → why it was refused; None where `rejected` is no list of objects with ids."""
    rejected = answer.get("rejected")
    if rejected is None:
        return {}
    if not isinstance(rejected, list):
        return None
    reasons: dict[str, str] = {}
    for entry in rejected:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str):
            return None
        reason = entry.get("reason")
        reasons[entry["id"]] = reason if isinstance(reason, str) and reason else "no reason given"
    return reasons


def listed_of(tenant_id: str, pending_only: bool) -> dict[str, str]:
    """The query of a tenant's list of messages."""
    return {"tenant_id": tenant_id} | ({"active_only": "true"} if pending_only else {})


def rows(value: Any, key: str | None = None) -> list[dict[str, Any]]:
    """The list of objects in the body of an answer, or under its `key`. Raises `UnreadableAnswer` for any other."""
    if key is not None:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UnreadableAnswer("the answer holds no list of objects")
    return value


def row(value: Any) -> dict[str, Any]:
    """The object that the body of an answer is. Raises `UnreadableAnswer` for any other."""
    if not isinstance(value, dict):
        raise UnreadableAnswer("the answer is no object")
    return value
