"""`ProxyQueries`: what a proxy has, read: messages, tenants and accounts; and the few commands beside submitting."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import ProxyRequestError, ProxyUnavailable, redact
from .answers import TooLong, concerns_all
from .api import row
from .attachment_credentials import tenant_of
from .caller import ProxyCaller
from .held import HeldMessage, HeldState

__all__ = ["ProxyQueries"]

#: How long a proxy is asked for one message after another.
_ASKED_SECONDS = 60.0

#: More messages are not asked for one after another, where a list is to be had.
_ASKED_SINGLY = 20


class ProxyQueries(ProxyCaller):
    """Asks for what the proxy has. It raises what `ProxyClient` does."""

    def find(self, message_id: str, tenant_id: str | None) -> HeldMessage | None:
        """What the proxy says of a message; None where it does not have it, or no tenant is known to ask for."""
        if not tenant_id:
            return None
        found, unsaid = self.find_each(tenant_id, [message_id])
        for problem in unsaid.values():
            raise problem
        return found.get(message_id)

    def find_each(
        self, tenant_id: str, ids: Sequence[str], *, pending_only: bool = False
    ) -> tuple[dict[str, HeldMessage], dict[str, ProxyUnavailable]]:
        """What the proxy says of messages, by their ids, as far as it has them; and of which it does not say.

        In one call where the API has only a list. Raises `ProxyUnavailable` where the trouble concerns them all, and
        among it `TooLong`. With `pending_only` those may be missing that have ended.
        """
        if ids and self._has_list_alone(tenant_id, ids):
            return self._listed(tenant_id, frozenset(ids), pending_only=pending_only), {}
        found, unsaid = self._one_by_one(tenant_id, ids)
        sent = frozenset(each.message_id for each in found.values() if each.state is HeldState.SENT)
        if sent and self.api.get_hides_errors:
            # In a list too long to read they are what they are said to be; their reports say otherwise in the end.
            with suppress(TooLong):
                found |= self._listed(tenant_id, sent, pending_only=False)
        return found, unsaid

    def look_up(
        self, tenant_id: str, ids: Sequence[str], *, are_pending: bool = False
    ) -> tuple[dict[str, HeldMessage], dict[str, ProxyUnavailable]]:
        """`find_each` for whoever acts upon it: what stands in neither answer the proxy certainly does not have.

        An end, and that there is no such message, is told by the list alone: 0.7.0 shows one that ended as error as
        sent, and answers 500 for an unknown id, as any server in trouble does. `are_pending` where most of them are
        taken for pending: then the shorter list is looked at first. Raises as `find_each` does.
        """
        pending = self._pending_among(tenant_id, ids) if are_pending or len(ids) <= _ASKED_SINGLY else {}
        rest = [each for each in ids if each not in pending]
        if not rest:
            return pending, {}
        try:
            return pending | self._listed(tenant_id, frozenset(rest), pending_only=False), {}
        except TooLong as exc:
            return pending, dict.fromkeys(rest, exc)

    def _pending_among(self, tenant_id: str, ids: Sequence[str]) -> dict[str, HeldMessage]:
        """Those that are pending, as far as that is cheap to find out."""
        if len(ids) > _ASKED_SINGLY or self._has_list_alone(tenant_id, ids):
            with suppress(TooLong):
                return _pending(self._listed(tenant_id, frozenset(ids), pending_only=True))
            return {}
        found, _ = self._one_by_one(tenant_id, ids)
        return _pending(found)

    def _has_list_alone(self, tenant_id: str, ids: Sequence[str]) -> bool:
        """Whether the API shows no message by its id."""
        return self.api.get_message(tenant_id, ids[0]) is None

    def _one_by_one(
        self, tenant_id: str, ids: Sequence[str]
    ) -> tuple[dict[str, HeldMessage], dict[str, ProxyUnavailable]]:
        """`find_each`, asked for one after another."""
        found: dict[str, HeldMessage] = {}
        unsaid: dict[str, ProxyUnavailable] = {}
        deadline = time.monotonic() + _ASKED_SECONDS
        for message_id in ids:
            if time.monotonic() > deadline:
                # What has been found out must not be lost with the time limit of the task.
                unsaid[message_id] = ProxyUnavailable("the proxy is slow to say which messages it has")
                continue
            try:
                shown = self.row(message_id, tenant_id)
            except ProxyUnavailable as exc:
                if concerns_all(exc):
                    raise
                unsaid[message_id] = exc
            else:
                found |= {} if shown is None else {message_id: HeldMessage.of(shown)}
        return found, unsaid

    def holds(self, message_id: str, tenant_id: str | None) -> bool:
        """Whether the proxy says that it has a message, whatever became of it."""
        return self.find(message_id, tenant_id) is not None

    def row(self, message_id: str, tenant_id: str) -> dict[str, Any] | None:
        """The row of a message, with the mail in it; None where the proxy does not have it, or shows none by its id."""
        call = self.api.get_message(tenant_id, message_id)
        if call is None:
            return None
        answer = self._send(call)
        # An unknown id is a 500 there. Any other answer says nothing of the message, which may be there.
        if answer.status in (404, 500):
            return None
        try:
            found = self._read(answer, call, row)
        except ProxyRequestError as exc:
            raise _unsaid(exc) from exc
        return found if found.get("id") == message_id else None

    def messages(self, tenant_id: str) -> list[dict[str, Any]]:
        """The messages of a tenant that the proxy holds."""
        return self._ask(self.api.list_messages(tenant_id), self.api.read_messages)

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Any:
        """Take messages out of the proxy's queue; its answer says how many."""
        return self._ask(self.api.delete_messages(tenant_id, ids))

    def tenant(self, tenant_id: str) -> dict[str, Any]:
        """What the proxy knows of a tenant."""
        return dict(self._ask(self.api.get_tenant(tenant_id), row))

    def tenants(self) -> list[dict[str, Any]]:
        """What the proxy knows of each tenant that the token may see."""
        return self._ask(self.api.list_tenants(), self.api.read_tenants)

    def find_tenant(self, tenant_id: str) -> dict[str, Any] | None:
        """What the proxy knows of a tenant, its credential included, or None; for a token that may see them all."""

        def read(body: Any) -> dict[str, Any] | None:
            listed = self.api.read_tenants(body)
            return next((tenant_of(each) for each in listed if each.get("id") == tenant_id), None)

        # By the list: 0.7.0 answers 500 for one that it does not know.
        return self._ask(self.api.list_tenants(), read)

    def accounts(self, tenant_id: str | None) -> list[dict[str, Any]]:
        """The SMTP accounts of a tenant."""
        return self._ask(self.api.list_accounts(tenant_id), self.api.read_accounts)

    def is_active(self) -> bool | None:
        """Whether the proxy sends what it has taken; None for 0.5.0, which does not say."""
        call = self.api.activity()
        return None if call is None else bool(self._ask(call, row).get("active"))

    def run_now(self, tenant_id: str) -> None:
        """Wake the proxy's send and report loops."""
        self._ask(self.api.run_now(tenant_id))

    def suspend(self, tenant_id: str, batch_code: str | None = None) -> tuple[str, ...]:
        """Stop sending for a tenant, or one of its batches; what of the tenant is suspended then, `"*"` for all.

        0.5.0 stops the reports of all tenants in place of that, and answers nothing.
        """
        return self._ask(self.api.suspend(tenant_id, batch_code), _suspended)

    def activate(self, tenant_id: str, batch_code: str | None = None) -> tuple[str, ...]:
        """Take up sending again: the inverse of `suspend`, with the same answer.

        One batch cannot be taken out of all: that is refused.
        """
        return self._ask(self.api.activate(tenant_id, batch_code), _suspended)

    def count_pending(self, tenant_id: str, batch_code: str | None = None) -> int | None:
        """How many messages of a tenant, or of one of its batches, the proxy has yet to send.

        None where it has so many that their list is too long to be read.
        """
        call = self.api.list_messages(tenant_id, pending_only=True)
        try:
            listed = self._ask(call, self.api.read_messages)
        except TooLong:
            return None
        pending = (each for each in listed if HeldMessage.of(each).state is HeldState.PENDING)
        return sum(batch_code in (None, each.get("batch_code")) for each in pending)

    def _listed(self, tenant_id: str, ids: frozenset[str], *, pending_only: bool) -> dict[str, HeldMessage]:
        call = self.api.list_messages(tenant_id, pending_only=pending_only)
        try:
            listed = self._ask(call, self.api.read_messages)
        except ProxyRequestError as exc:
            raise _unsaid(exc) from exc
        return {each["id"]: HeldMessage.of(each) for each in listed if each.get("id") in ids}


def _pending(found: Mapping[str, HeldMessage]) -> dict[str, HeldMessage]:
    return {message_id: held for message_id, held in found.items() if held.state is HeldState.PENDING}


def _suspended(body: Any) -> tuple[str, ...]:
    answer = row(body)
    if answer.get("ok") is False:
        # 0.7.0 refuses with a 200.
        said = str(answer.get("error") or "no reason given")[:200]
        raise ProxyRequestError(f"the proxy refused it: {redact(said)}", 200)
    batches = answer.get("suspended_batches")
    return tuple(map(str, batches)) if isinstance(batches, list) else ()


def _unsaid(exc: ProxyRequestError) -> ProxyUnavailable:
    """What was refused is our question, and not the mail."""
    return ProxyUnavailable(exc.problem, status=exc.status)
