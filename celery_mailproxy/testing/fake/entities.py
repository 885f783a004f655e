"""genro-mail-proxy 0.7.0, faked."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from celery_mailproxy.testing.fake.dialect import Crash, Dialect, Invalid, Request, Route
from celery_mailproxy.testing.fake.records import Record, now_text

__all__ = ["EntitiesDialect"]

_REQUIRED = ("id", "tenant_id", "account_id", "from", "to", "subject")
_OPTIONAL = ("cc", "bcc", "reply_to", "return_path", "message_id", "attachments", "headers")
_EVENT_TYPES = {"bounced": "bounce"}


class EntitiesDialect(Dialect):
    """Accepts nearly everything with 200, looks at messages one by one, and crashes on the rest."""

    submit_path = "/messages/add_batch"
    open_paths = ("/health", "/metrics", "/openapi.json")

    def routes(self) -> dict[str, Route]:
        return {
            **super().routes(),
            "GET /messages/list": self.list_messages,
            "GET /messages/get": self.get_message,
            "POST /messages/delete_batch": self.delete_messages,
            "GET /instance/status": lambda request: {"ok": True, "active": True},
            "POST /instance/run_now": self.run_now,
            "POST /instance/suspend": lambda request: self.change_batches(request, "suspend"),
            "POST /instance/activate": lambda request: self.change_batches(request, "activate"),
            "POST /tenants/add": self.add_tenant,
            "GET /tenants/list": self.list_tenants,
            "GET /tenants/get": self.get_tenant,
            "POST /tenants/update": self.update_tenant,
            "POST /tenants/delete": self.delete_tenant,
            "POST /accounts/add": self.add_account,
            "GET /accounts/list": self.list_accounts,
            "GET /accounts/get": self.get_account,
            "POST /accounts/delete": self.delete_account,
        }

    def is_known_token(self, token: str) -> bool:
        return super().is_known_token(token) or self.records.has_key(token)

    def submit(self, request: Request) -> Any:
        messages = request.field("messages", list)
        for index, message in enumerate(messages):
            if not isinstance(message, dict):
                at = ("body", "messages", index)
                raise Invalid(*at, problem="Input should be a valid dictionary", kind="dict_type")
        default = request.json().get("default_priority")
        rejected, accepted = [], []
        with self.records.lock:
            self.records.received.extend(messages)
            for message in messages:
                missing = next((name for name in _REQUIRED if not message.get(name)), None)
                if missing is None:
                    accepted.append(message)
                else:
                    rejected.append({"id": message.get("id") or None, "reason": f"Missing '{missing}' field"})
            queued = sum(self._accept(message, 2 if default is None else default) for message in accepted)
        return {"ok": True, "queued": queued, "rejected": rejected}

    def _accept(self, message: dict[str, Any], default_priority: Any) -> bool:
        known = self.records.messages.get(self.records.key(message["tenant_id"], str(message["id"])))
        try:
            # What came before it in the submission stays accepted.
            priority = int(default_priority if message.get("priority") is None else message["priority"])
        except (TypeError, ValueError) as exc:
            raise Crash from exc
        if known and known.status in ("sent", "error"):
            return False
        to = message["to"]
        payload = {
            "from": message["from"],
            "to": to if isinstance(to, list) else [to],
            "subject": message["subject"],
            "body": message.get("body", ""),
            "content_type": message.get("content_type", "plain"),
            **{name: message[name] for name in _OPTIONAL if message.get(name)},
        }
        record = self.records.put(message, tenant_id=message["tenant_id"], priority=priority, payload=payload)
        record.batch_code = message.get("batch_code")
        self.delivery.schedule(record, keep_delay=not record.is_healed and not record.history)
        return True

    def list_messages(self, request: Request) -> Any:
        flags = {
            name: request.query.get(name, "").lower() in ("1", "true") for name in ("active_only", "include_history")
        }
        with self.records.lock:
            records = list(self.records.of_tenant(request.query.get("tenant_id")))
            return [
                _listed(record, history=flags["include_history"])
                for record in records
                if not flags["active_only"] or record.status in ("pending", "deferred")
            ]

    def get_message(self, request: Request) -> Any:
        with self.records.lock:
            record = self.records.find(request.parameter("tenant_id"), request.parameter("message_id"))
            return _shown(_found(record))

    def delete_messages(self, request: Request) -> Any:
        tenant_id, ids = request.field("tenant_id"), request.field("ids", list)
        with self.records.lock:
            removed, unknown, foreign = self.records.remove(tenant_id, ids)
        return {"ok": True, "removed": removed, "not_found": unknown or None, "unauthorized": foreign or None}

    def run_now(self, request: Request) -> Any:
        self.delivery.run_now(request.json().get("tenant_id"))
        return {"ok": True}

    def change_batches(self, request: Request, how: str) -> Any:
        """Refuses with a 200."""
        tenant_id, batch_code = request.field("tenant_id"), request.json().get("batch_code")
        with self.records.lock:
            if tenant_id not in self.records.tenants:
                return {"ok": False, "error": f"Tenant '{tenant_id}' not found"}
            batches = self.delivery.changed_batches(tenant_id, batch_code, how)
            if batches is None:
                problem = "Cannot remove single batch when all suspended. Use activate_batch(None) first."
                return {"ok": False, "error": problem}
            # It keeps them as one text.
            batches = {each for batch in batches for each in batch.split(",")}
            self.delivery.suspended[tenant_id] = batches
        self.delivery.run_now(None)
        return {"ok": True, "tenant_id": tenant_id, "suspended_batches": sorted(batches)}

    def add_tenant(self, request: Request) -> Any:
        tenant_id = request.field("id")
        with self.records.lock:
            is_new = tenant_id not in self.records.tenants
            tenant = self.records.add_tenant(request.json())
        self.delivery.run_now(None)
        return {**_public(tenant), **({"api_key": tenant["api_key"]} if is_new else {})}

    def list_tenants(self, request: Request) -> Any:
        with self.records.lock:
            return [_public(tenant) for tenant in self.records.tenants.values()]

    def get_tenant(self, request: Request) -> Any:
        with self.records.lock:
            return _public(_found(self.records.tenants.get(request.parameter("tenant_id"))))

    def update_tenant(self, request: Request) -> Any:
        changes = {name: value for name, value in request.json().items() if value is not None and name != "tenant_id"}
        with self.records.lock:
            tenant = _found(self.records.tenants.get(request.field("tenant_id")))
            tenant.update(changes)
        self.delivery.run_now(None)
        return _public(tenant)

    def delete_tenant(self, request: Request) -> Any:
        with self.records.lock:
            return self.records.tenants.pop(request.field("tenant_id"), None) is not None

    def add_account(self, request: Request) -> Any:
        tenant_id, account_id = request.field("tenant_id"), request.field("id")
        request.field("host"), request.field("port", int)
        # Not a password: none.
        defaults = {"user": None, "password": None, "ttl": 300, "use_tls": True, "limit_behavior": "defer"}  # nosec B105
        account = {"pk": uuid.uuid4().hex[:22], **defaults, **request.json(), "created_at": now_text()}
        with self.records.lock:
            self.records.accounts[self.records.key(tenant_id, account_id)] = account
        return account

    def list_accounts(self, request: Request) -> Any:
        tenant_id = request.parameter("tenant_id")
        with self.records.lock:
            accounts = [account for (owner, _), account in self.records.accounts.items() if owner == tenant_id]
        return [{name: value for name, value in account.items() if name != "password"} for account in accounts]

    def get_account(self, request: Request) -> Any:
        key = self.records.key(request.parameter("tenant_id"), request.parameter("account_id"))
        with self.records.lock:
            return _found(self.records.accounts.get(key))

    def delete_account(self, request: Request) -> Any:
        key = self.records.key(request.field("tenant_id"), request.field("account_id"))
        with self.records.lock:
            self.records.accounts.pop(key, None)


def _found(row: Any) -> Any:
    if row is None:
        raise Crash
    return row


def _listed(record: Record, *, history: bool) -> dict[str, Any]:
    smtp_ts = record.sent_ts if record.sent_ts is not None else record.error_ts
    row: dict[str, Any] = {
        "pk": record.pk,
        "id": record.id,
        "tenant_id": record.tenant_id,
        "account_id": record.account_id,
        "priority": record.priority,
        "batch_code": record.batch_code,
        "deferred_ts": record.deferred_ts,
        "smtp_ts": smtp_ts,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "is_pec": False,
        "error_ts": record.error_ts,
        "error": record.error,
        "message": record.message,
        "status": record.status,
    }
    if history:
        row["history"] = [
            {**event, "event_type": _EVENT_TYPES.get(event["event_type"], event["event_type"])}
            for event in record.history
        ]
    return row


def _shown(record: Record) -> dict[str, Any]:
    """One message as it is got by its id: nothing tells one that ended as error from one that was sent."""
    row = _listed(record, history=False)
    del row["error_ts"], row["error"]
    return {**row, "status": "sent" if row["status"] == "error" else row["status"]}


def _public(tenant: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(tenant["api_key"].encode()).hexdigest()
    return {**{name: value for name, value in tenant.items() if name != "api_key"}, "api_key_hash": digest}
