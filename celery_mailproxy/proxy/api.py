"""What the two HTTP APIs of genro-mail-proxy have in common, as the client needs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import MessageRejected, ProxyRequestError, ProxyUnavailable, UnforeseenError

__all__ = ["Call", "ProxyAPI", "SubmitAnswer", "UnreadableAnswer", "row", "rows"]


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
    submit those again later, with the same id.
    """

    accepted: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, ProxyRequestError] = field(default_factory=dict)
    unsettled: Mapping[str, ProxyUnavailable | UnforeseenError] = field(default_factory=dict)

    def __add__(self, other: SubmitAnswer) -> SubmitAnswer:
        return SubmitAnswer(
            accepted=self.accepted + other.accepted,
            rejected={**self.rejected, **other.rejected},
            failed={**self.failed, **other.failed},
            unsettled={**self.unsettled, **other.unsettled},
        )

    def raise_for(self, message_id: str) -> None:
        """Raise what became of a message, unless it was accepted: `MessageRejected`, or the error of its call."""
        if message_id in self.rejected:
            raise MessageRejected(message_id, self.rejected[message_id])
        error = self.failed.get(message_id) or self.unsettled.get(message_id)
        if error is not None:
            raise error


class ProxyAPI(ABC):
    """One of the proxy's HTTP dialects: where each call goes, and what its answer means."""

    name: ClassVar[str]
    #: The submission path, which identifies the dialect in an OpenAPI document.
    submit_path: ClassVar[str]
    #: Whether attachments are fetched without the tenant's URL and credentials; see `attachment_credentials`.
    forgets_tenants: ClassVar[bool] = False

    def submit(self, messages: Sequence[Mapping[str, Any]]) -> Call:
        """Submit messages, each as `payload.encode` gives it."""
        return Call(method="POST", path=self.submit_path, json={"messages": list(messages)})

    def read_submission(self, ids: Sequence[str], status: int, body: Any) -> SubmitAnswer | None:
        """The answer to a submission, or None where status and body are not one: only what looks like the proxy's is.

        That is a 200 with `ok` true, or a list `rejected` that is not empty, of objects with an id each.

        Judged by `rejected` and never by the count `queued`: the entities API leaves a message that it has already
        sent out of both, the commands API rejects it as "already sent". Either way the proxy has had it.
        """
        answer = self._submission_answer(status, body)
        refusals = None if answer is None else _refusals(answer)
        if answer is None or refusals is None:
            return None
        is_ok = status == 200 and answer.get("ok") is True
        if not is_ok and not refusals:
            return None
        rejected = {each: reason for each, reason in refusals.items() if each in ids and reason != _ALREADY_SENT}
        # Where the call as a whole was no success, only what is said of a message counts.
        accepted = [each for each in ids if each not in rejected and (is_ok or each in refusals)]
        unsaid = [each for each in ids if not is_ok and each not in refusals]
        problem = ProxyUnavailable("the proxy's answer to the submission does not say what became of it", status=status)
        return SubmitAnswer(accepted=tuple(accepted), rejected=rejected, unsettled=dict.fromkeys(unsaid, problem))

    @abstractmethod
    def _submission_answer(self, status: int, body: Any) -> Mapping[str, Any] | None:
        """The object that holds `rejected`."""

    @abstractmethod
    def list_messages(self, tenant_id: str) -> Call:
        """The messages of a tenant that the proxy still holds."""

    @abstractmethod
    def read_messages(self, body: Any) -> list[dict[str, Any]]:
        """The messages in the answer to `list_messages`."""

    def get_message(self, tenant_id: str, message_id: str) -> Call | None:
        """One message; None where a second submission of a message being sent is safe without asking for it."""
        return None

    @abstractmethod
    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Call:
        """Take messages out of the proxy's queue."""

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
    def list_accounts(self, tenant_id: str | None) -> Call:
        """The SMTP accounts of a tenant."""

    @abstractmethod
    def read_accounts(self, body: Any) -> list[dict[str, Any]]:
        """The accounts in the answer to `list_accounts`."""

    def activity(self) -> Call | None:
        """Whether the proxy sends at all; None where the API has no such call."""
        return None

    @abstractmethod
    def run_now(self, tenant_id: str) -> Call:
        """Wake the proxy's send and report loops."""


#: What the commands API says of a message that it has sent, when it is submitted again.
_ALREADY_SENT = "already sent"


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
