"""genro-mail-proxy 0.5.8 to 0.6.10, faked."""

from __future__ import annotations

import secrets
from typing import Any

from celery_mailproxy.testing.fake.commands import CommandsDialect, priority_of, require
from celery_mailproxy.testing.fake.dialect import Crash, Refused, Request, Route
from celery_mailproxy.testing.fake.records import Record, now_text
from celery_mailproxy.testing.outcomes import error

__all__ = ["Commands06Dialect"]

_CHECKED = ("id", "tenant_id", "account_id", "from", "to", "subject")
_MAX_BATCH_CODE = 64


class Commands06Dialect(CommandsDialect):
    """Each tenant has its own accounts, token and suspended batches; what ended, well or not, is "already sent"."""

    open_paths: tuple[str, ...] = ("/health", "/metrics", "/openapi.json")
    required_fields = ("id", "tenant_id", "account_id", "from", "to", "subject")

    def routes(self) -> dict[str, Route]:
        # Before `/tenants`, and what tells it from 0.5.0 in the OpenAPI document.
        return {
            **super().routes(),
            "GET /status": lambda request: {"ok": True, "active": True},
            "GET /tenants/sync-status": self.list_sync_status,
            "POST /tenant/{tenant_id}/api-key": self.renew_key,
        }

    def is_known_token(self, token: str) -> bool:
        return super().is_known_token(token) or self.records.has_key(token)

    def check(self, index: int, message: Any) -> None:
        super().check(index, message)
        at = ("body", "messages", index)
        require(isinstance(message["tenant_id"], str), *at, "tenant_id")
        require(isinstance(message["account_id"], str), *at, "account_id")
        require(bool(message["subject"]), *at, "subject")
        batch_code = message.get("batch_code") or ""
        require(isinstance(batch_code, str) and len(batch_code) <= _MAX_BATCH_CODE, *at, "batch_code")

    def refusal(self, message: dict[str, Any]) -> str | None:
        for name in _CHECKED:
            value = message[name]
            if not (any(value) if isinstance(value, list) else value):
                return f"missing {name}"
        if self.records.key(message["tenant_id"], message["account_id"]) not in self.records.accounts:
            return "account not found for tenant"
        known = self._known(message)
        return "already sent" if known and _is_ended(known) else None

    def keep_refused(self, message: dict[str, Any], reason: str) -> None:
        """It keeps refused messages too, and reports them as errors: but for one that is pending already."""
        known = self._known(message)
        if reason == "already sent" or not message["id"] or (known and _is_ended(known)):
            return
        record = self.records.put(message, tenant_id=message["tenant_id"], priority=2, payload=message)
        record.generation += 1
        record.steps = []
        if known is None:
            record.deferred_ts = None
            self.delivery.take(record, error(reason))
        # Else it is tried without a pause, through an account that does not exist, and nothing is heard of it.

    def accept(self, message: dict[str, Any], default_priority: int) -> None:
        priority = default_priority if message.get("priority") is None else priority_of(message["priority"])
        kept = {name: value for name, value in message.items() if value is not None}
        payload = {"content_type": "plain", "body": "", **kept, "priority": priority}
        record = self.records.put(message, tenant_id=message["tenant_id"], priority=priority, payload=payload)
        record.batch_code = message.get("batch_code")
        self.delivery.schedule(record, keep_delay=not record.history)

    def run_now(self, request: Request) -> Any:
        # The tenant is the token's, whatever the query says: an administrator wakes all of them.
        own = self._tenant_of(request)
        with self.records.lock:
            tenants = [own] if own else list(self.records.tenants)
        for tenant_id in tenants:
            self.delivery.run_now(tenant_id)
        return {"ok": True}

    def suspend(self, request: Request) -> Any:
        return self._change_batches(request, "suspend")

    def activate(self, request: Request) -> Any:
        return self._change_batches(request, "activate")

    def delete_messages(self, request: Request) -> Any:
        tenant_id, ids = request.parameter("tenant_id"), request.json().get("ids", [])
        self._check_scope(request, tenant_id)
        with self.records.lock:
            # It looks for them by their account: without one a message is nobody's.
            owned = [each for each in ids if (found := self.records.find(tenant_id, each)) and self._has_account(found)]
            removed, _, _ = self.records.remove(tenant_id, owned)
        foreign = sorted({*ids} - {*owned})
        return {"ok": True, "removed": removed, "not_found": [], "unauthorized": foreign}

    def list_messages(self, request: Request) -> Any:
        tenant_id = request.parameter("tenant_id")
        self._check_scope(request, tenant_id)
        flags = {
            name: request.query.get(name, "").lower() in ("1", "true") for name in ("active_only", "include_history")
        }
        with self.records.lock:
            records = list(self.records.of_tenant(tenant_id))
            listed = [
                _listed(record, history=flags["include_history"])
                for record in records
                if not flags["active_only"] or not _is_ended(record)
            ]
        return {"ok": True, "messages": listed}

    def add_tenant(self, request: Request) -> Any:
        self._check_admin(request)
        tenant_id = request.field("id")
        with self.records.lock:
            is_new = tenant_id not in self.records.tenants
            tenant = self.records.add_tenant(request.json())
        self.delivery.run_now(None)
        return {"ok": True, **({"api_key": tenant["api_key"]} if is_new else {})}

    def list_tenants(self, request: Request) -> Any:
        self._check_admin(request)
        return super().list_tenants(request)

    def get_tenant(self, request: Request, tenant_id: str) -> Any:
        self._check_scope(request, tenant_id)
        return super().get_tenant(request, tenant_id)

    def list_sync_status(self, request: Request) -> Any:
        self._check_admin(request)
        with self.records.lock:
            tenants = [
                {"id": tenant["id"], "active": tenant["active"], "next_sync_due": False, "in_dnd": False}
                for tenant in self.records.tenants.values()
            ]
        return {"ok": True, "tenants": tenants, "sync_interval_seconds": 300}

    def renew_key(self, request: Request, tenant_id: str) -> Any:
        self._check_admin(request)
        with self.records.lock:
            tenant = self.records.tenants.get(tenant_id)
            if tenant is None:
                return self.no_tenant(tenant_id)
            tenant["api_key"] = secrets.token_urlsafe(32)
            return {"ok": True, "api_key": tenant["api_key"]}

    def add_account(self, request: Request) -> Any:
        account_id = request.field("id")
        request.field("host"), request.field("port", int)
        tenant_id = request.json().get("tenant_id")
        if tenant_id is None:
            raise Crash
        self._check_scope(request, tenant_id)
        account = {"ttl": 300, "limit_behavior": "defer", **request.json(), "created_at": now_text()}
        with self.records.lock:
            self.records.accounts[self.records.key(tenant_id, account_id)] = account
        return {"ok": True}

    def list_accounts(self, request: Request) -> Any:
        self._check_scope(request, request.parameter("tenant_id"))
        return super().list_accounts(request)

    def delete_account(self, request: Request, account_id: str) -> Any:
        tenant_id = request.parameter("tenant_id")
        self._check_scope(request, tenant_id)
        with self.records.lock:
            if self.records.accounts.pop(self.records.key(tenant_id, account_id), None) is None:
                raise Refused(400, "account not found or not owned by tenant")
            # Those of every tenant with an account of this id, and nobody hears of it.
            lost = [key for key, record in self.records.messages.items() if record.account_id == account_id]
            for key in lost:
                self.records.messages.pop(key).generation += 1
        return {"ok": True}

    def _change_batches(self, request: Request, how: str) -> Any:
        # Whose token it is nobody asks.
        tenant_id, batch_code = request.parameter("tenant_id"), request.query.get("batch_code")
        with self.records.lock:
            if tenant_id not in self.records.tenants:
                raise Refused(400, "tenant not found")
            batches = self.delivery.changed_batches(tenant_id, batch_code, how)
            if batches is None:
                raise Refused(400, "tenant not found or cannot activate single batch from full suspension")
            self.delivery.suspended[tenant_id] = batches
            waiting = [
                record
                for record in self.records.of_tenant(tenant_id)
                if not _is_ended(record) and batch_code in (None, record.batch_code)
            ]
        self.delivery.run_now(None)
        named = {"batch_code": batch_code} if batch_code else {}
        lists = {"suspended_batches": sorted(batches), "pending_messages": len(waiting)}
        return {"ok": True, "tenant_id": tenant_id, **named, **lists}

    def _known(self, message: dict[str, Any]) -> Record | None:
        return self.records.messages.get(self.records.key(message["tenant_id"], message["id"]))

    def _has_account(self, record: Record) -> bool:
        return self.records.key(record.tenant_id, str(record.account_id)) in self.records.accounts

    def _tenant_of(self, request: Request) -> str | None:
        """Whose token it is; None for the administrator's."""
        with self.records.lock:
            owners = [name for name, tenant in self.records.tenants.items() if tenant["api_key"] == request.token]
        return owners[0] if owners else None

    def _check_scope(self, request: Request, tenant_id: str) -> None:
        if self._tenant_of(request) not in (None, tenant_id):
            raise Refused(401, "Token not authorized for this tenant")

    def _check_admin(self, request: Request) -> None:
        if self._tenant_of(request) is not None:
            raise Refused(403, "Admin token required, tenant tokens not allowed for this operation")


def _is_ended(record: Record) -> bool:
    return record.sent_ts is not None or record.error_ts is not None


def _listed(record: Record, *, history: bool) -> dict[str, Any]:
    """A message as `GET /messages` shows it: without the keys that have no value."""
    row: dict[str, Any] = {
        "pk": record.pk,
        "id": record.id,
        "tenant_id": record.tenant_id,
        "account_id": record.account_id,
        "priority": record.priority,
        "batch_code": record.batch_code,
        "deferred_ts": record.deferred_ts,
        # The time of the last attempt, also of one that ended as error.
        "sent_ts": record.sent_ts if record.sent_ts is not None else record.error_ts,
        "error_ts": record.error_ts,
        "error": record.error,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "message": record.message,
        "is_pec": False,
    }
    if history:
        events = [{"event_id": number, **event} for number, event in enumerate(record.history, 1)]
        row["history"] = [{name: value for name, value in event.items() if value is not None} for event in events]
    return {name: value for name, value in row.items() if value is not None}
