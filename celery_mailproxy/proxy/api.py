"""What the two HTTP APIs of genro-mail-proxy have in common, as the client needs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import MessageRejected, ProxyRequestError, ProxyUnavailable

__all__ = ["Call", "ProxyAPI", "SubmitAnswer"]


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
    `failed`: id → an error of the whole call that no retry mends. `unsettled`: id → error; submit those again later,
    with the same id.
    """

    accepted: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, ProxyRequestError] = field(default_factory=dict)
    unsettled: Mapping[str, ProxyUnavailable] = field(default_factory=dict)

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
        """The answer to a submission, or None where status and body are not one.

        Judged by `rejected` and never by the count `queued`: the entities API leaves a message that it has already
        sent out of both, the commands API rejects it as "already sent". Either way the proxy has had it.
        """
        answer = self._submission_answer(status, body)
        if answer is None:
            return None
        rejected = {
            str(entry.get("id")): str(entry.get("reason") or "no reason given")
            for entry in answer.get("rejected") or []
            if isinstance(entry, Mapping) and entry.get("reason") != "already sent"
        }
        return SubmitAnswer(
            accepted=tuple(message_id for message_id in ids if message_id not in rejected),
            rejected={message_id: reason for message_id, reason in rejected.items() if message_id in ids},
        )

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
