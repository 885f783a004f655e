"""What a fake proxy remembers: tenants, accounts, messages and the reports it still owes."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from celery_mailproxy.testing.outcomes import Step, sent
from celery_mailproxy.testing.proxy_admin import Profile

__all__ = ["Event", "FakeRecords", "Plan", "Record", "recipients_of"]

Plan = Callable[[dict[str, Any]], "Sequence[Step] | None"]

#: What the proxies' mail builder says of them; the mail is accepted and then ends as an error.
_LINE_BREAK_REASON = "Header values may not contain linefeed or carriage return characters"
#: What 0.7.0 says of a mail that it does not find in its row.
_LOST_REASON = "missing 'from'"
_HEADER_FIELDS = ("subject", "from", "reply_to", "message_id")


@dataclass(eq=False, kw_only=True)
class Event:
    """A report that the tenant has not acknowledged yet."""

    record: Record | None
    entry: dict[str, Any]
    at: int


@dataclass(eq=False, kw_only=True)
class Record:
    """One message, as the proxy's table holds it."""

    id: str
    tenant_id: str
    account_id: str | None
    message: dict[str, Any]
    priority: int
    steps: list[Step]
    deferred_ts: int | None = None
    sent_ts: int | None = None
    error_ts: int | None = None
    error: str | None = None
    reported_ts: int | None = None
    batch_code: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    pk: str = field(default_factory=lambda: uuid.uuid4().hex[:22])
    created_at: str = field(default_factory=lambda: now_text())
    updated_at: str = field(default_factory=lambda: now_text())
    #: Whether 0.7.0 has nested the mail in its own row, where it does not find it again.
    is_nested: bool = False
    #: Whether it was submitted again after that: its next step comes at once, for a test cannot wait.
    is_healed: bool = False
    #: Raised whenever its remaining steps are put in the timetable anew: what stands there for it is void then.
    generation: int = 0

    @property
    def status(self) -> str:
        if self.sent_ts is not None:
            return "sent"
        if self.error_ts is not None:
            return "error"
        return "pending" if self.deferred_ts is None else "deferred"

    @property
    def is_awaited(self) -> bool:
        """Whether more is to happen to it."""
        return self.error_ts is None if self.is_nested else bool(self.steps)


class FakeRecords:
    """The tables. `lock` guards them all; whoever changes them holds it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.lock = threading.RLock()
        self.tenants: dict[str, dict[str, Any]] = {}
        self.accounts: dict[tuple[str, str], dict[str, Any]] = {}
        self.messages: dict[tuple[str, str], Record] = {}
        #: What SMTP servers are to say next of messages that were lost and deleted: they are about to be added again.
        self.left_steps: dict[tuple[str, str], list[Step]] = {}
        self.pending: defaultdict[str, list[Event]] = defaultdict(list)
        self.plans: list[Plan] = []
        self.received: list[dict[str, Any]] = []
        self.delivered: list[dict[str, Any]] = []

    def key(self, tenant_id: str, item_id: str) -> tuple[str, str]:
        """Ids of messages and accounts are unique per tenant; on 0.5.0, over all of them."""
        return ("" if self.profile == "commands-0.5" else tenant_id, item_id)

    def has_key(self, api_key: str) -> bool:
        """Whether it is the key of a tenant."""
        with self.lock:
            return any(tenant["api_key"] == api_key for tenant in self.tenants.values())

    def find(self, tenant_id: str, message_id: str) -> Record | None:
        record = self.messages.get(self.key(tenant_id, message_id))
        return record if record and record.tenant_id == tenant_id else None

    def of_tenant(self, tenant_id: str | None) -> Iterator[Record]:
        for record in self.messages.values():
            if tenant_id is None or record.tenant_id == tenant_id:
                yield record

    def remove(self, tenant_id: str, ids: Sequence[str]) -> tuple[int, list[str], list[str]]:
        """Delete messages: how many were, the unknown ids, and those of other tenants."""
        removed = 0
        unknown: list[str] = []
        foreign: list[str] = []
        for message_id in ids:
            record = self.messages.get(self.key(tenant_id, message_id))
            if record is None:
                elsewhere = any(found == message_id for _, found in self.messages)
                (foreign if elsewhere else unknown).append(message_id)
            elif record.tenant_id != tenant_id:
                foreign.append(message_id)
            else:
                del self.messages[self.key(tenant_id, message_id)]
                if record.is_nested:
                    self.left_steps[self.key(tenant_id, message_id)] = record.steps
                record.generation += 1
                removed += 1
        return removed, unknown, foreign

    def put(self, message: dict[str, Any], *, tenant_id: str, priority: int, payload: dict[str, Any]) -> Record:
        """Take a message that passed the checks: a new one, or a pending one in its place."""
        deferred_ts = message.get("deferred_ts")
        key = self.key(tenant_id, str(message["id"]))
        record = self.messages.get(key)
        if record is None:
            steps = self.left_steps.pop(key, None)
            record = self.messages[key] = Record(
                id=str(message["id"]),
                tenant_id=tenant_id,
                account_id=message.get("account_id"),
                message=payload,
                priority=priority,
                deferred_ts=deferred_ts,
                batch_code=message.get("batch_code"),
                steps=list(self._steps_of(message, tenant_id)) if steps is None else steps,
                is_healed=steps is not None,
            )
            return record
        if record.error_ts is not None:
            record.steps = list(self._steps_of(message, tenant_id))
        record.account_id, record.message, record.priority = message.get("account_id"), payload, priority
        record.is_nested, record.is_healed = False, record.is_nested
        # Also a deferred one's time for the next try is gone: both proxies try again at once.
        record.deferred_ts, record.error_ts, record.error, record.reported_ts = deferred_ts, None, None, None
        record.updated_at = now_text()
        return record

    def nest(self, record: Record) -> None:
        """Write the whole row of a message in place of its mail, as 0.7.0 does when an SMTP server defers it."""
        names = ("pk", "id", "tenant_id", "account_id", "priority", "batch_code", "deferred_ts", "message")
        row = {name: getattr(record, name) for name in names}
        record.message = {**row, "is_pec": False, "retry_count": 1}
        record.is_nested, record.is_healed = True, False

    def next_step(self, record: Record) -> Step:
        """What happens to a message now; a nested one does not come as far as an SMTP server."""
        return Step(kind="error", reason=_LOST_REASON) if record.is_nested else record.steps.pop(0)

    def _steps_of(self, message: dict[str, Any], tenant_id: str) -> Sequence[Step]:
        account = message.get("account_id")
        if self.key(tenant_id, str(account)) not in self.accounts:
            return [Step(kind="error", reason=f"Account '{account}' not found for tenant '{tenant_id}'")]
        if any(_breaks_lines(value) for value in _header_values(message)):
            return [Step(kind="error", reason=_LINE_BREAK_REASON)]
        # The latest plan wins, so that a test can overrule its fixture.
        for plan in reversed(self.plans):
            steps = plan(message)
            if steps is not None:
                return steps
        return [sent()]

    def add_tenant(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Add or replace a tenant; a new one has an `api_key`, which only this answer shows."""
        known = self.tenants.get(fields["id"])
        tenant = {
            "name": None,
            "client_auth": None,
            "client_base_url": None,
            "client_sync_path": None,
            "client_attachment_path": None,
            "rate_limits": None,
            "large_file_config": None,
            "active": True,
            "created_at": known["created_at"] if known else now_text(),
            **fields,
            "updated_at": now_text(),
            "suspended_batches": None,
            "api_key": known["api_key"] if known else secrets.token_urlsafe(32),
        }
        self.tenants[fields["id"]] = tenant
        return tenant


def recipients_of(message: dict[str, Any]) -> list[Any]:
    """What names the envelope's recipients: the Resent headers of a mail with a Resent-Date, else to, cc and bcc."""
    headers = message.get("headers")
    resent = {str(name).lower(): value for name, value in headers.items()} if isinstance(headers, dict) else {}
    if "resent-date" in resent:
        return [resent.get(f"resent-{name}") for name in ("to", "cc", "bcc")]
    return [message.get(name) for name in ("to", "cc", "bcc")]


def now_text() -> str:
    """Now as the proxies write it: UTC, without saying so."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def now_ts() -> int:
    """Now in whole unix seconds."""
    return int(time.time())


def _header_values(message: dict[str, Any]) -> Iterator[Any]:
    for name in _HEADER_FIELDS:
        yield message.get(name)
    for name in ("to", "cc", "bcc"):
        addresses = message.get(name)
        yield from addresses if isinstance(addresses, list) else [addresses]
    headers = message.get("headers")
    if isinstance(headers, dict):
        yield from headers.values()


def _breaks_lines(value: Any) -> bool:
    return isinstance(value, str) and ("\r" in value or "\n" in value)
