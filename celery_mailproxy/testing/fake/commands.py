"""genro-mail-proxy 0.5.0, faked."""

from __future__ import annotations

from typing import Any

from celery_mailproxy.testing.fake.dialect import Answer, Dialect, Invalid, Refused, Request, Route
from celery_mailproxy.testing.fake.records import Record
from celery_mailproxy.testing.outcomes import error

__all__ = ["CommandsDialect", "priority_of", "require"]

_LABELS = {"immediate": 0, "high": 1, "medium": 2, "low": 3}
_TEXT_FIELDS = ("account_id", "reply_to", "return_path", "content_type", "message_id")
_ATTACHMENT_FIELDS = {"filename", "storage_path", "mime_type", "fetch_mode", "content_md5", "auth"}
#: What the API's own model knows; it drops anything else, tenant_id and batch_code too.
_FIELDS = (
    "id", "account_id", "from", "to", "cc", "bcc", "reply_to", "return_path", "subject", "body", "content_type",
    "headers", "message_id", "attachments", "priority", "deferred_ts",
)  # fmt: skip


class CommandsDialect(Dialect):
    """Refuses with 400 when nothing of a submission was accepted, and with 422 when one field has a wrong shape."""

    submit_path = "/commands/add-messages"
    #: What a message must have, else all of the submission is refused.
    required_fields: tuple[str, ...] = ("id", "from", "to", "subject", "body")

    def routes(self) -> dict[str, Route]:
        return {
            **super().routes(),
            "GET /status": lambda request: {"ok": True},
            "POST /commands/run-now": self.run_now,
            "POST /commands/suspend": self.suspend,
            "POST /commands/activate": self.activate,
            "POST /commands/delete-messages": self.delete_messages,
            "GET /messages": self.list_messages,
            "POST /tenant": self.add_tenant,
            "GET /tenants": self.list_tenants,
            "GET /tenant/{tenant_id}": self.get_tenant,
            "PUT /tenant/{tenant_id}": self.update_tenant,
            "DELETE /tenant/{tenant_id}": self.delete_tenant,
            "POST /account": self.add_account,
            "GET /accounts": self.list_accounts,
            "DELETE /account/{account_id}": self.delete_account,
        }

    def submit(self, request: Request) -> Any:
        messages = request.field("messages", list)
        for index, message in enumerate(messages):
            self.check(index, message)
        if len(messages) > 1000:
            problem = "Cannot enqueue more than 1000 messages at once"
            raise Refused(400, {"error": problem, "rejected": None})
        default = request.json().get("default_priority")
        rejected, queued = [], 0
        with self.records.lock:
            self.records.received.extend(messages)
            for message in messages:
                reason = self.refusal(message)
                if reason is None:
                    self.accept(message, 2 if default is None else priority_of(default))
                    queued += 1
                else:
                    rejected.append({"id": message["id"], "reason": reason})
                    self.keep_refused(message, reason)
        if not queued and any(refused["reason"] != "already sent" for refused in rejected):
            raise Refused(400, {"error": None, "rejected": rejected})
        return {"ok": True, "queued": queued, "rejected": rejected}

    def check(self, index: int, message: Any) -> None:
        """Raise `Invalid` where the shape of a message makes the API refuse all of them."""
        _check_shape(index, message, self.required_fields)

    def refusal(self, message: dict[str, Any]) -> str | None:
        for name in ("id", "from", "to"):
            if not message[name]:
                return f"missing {name}"
        if not message.get("account_id"):
            return "missing account configuration"
        if self.records.key("", message["account_id"]) not in self.records.accounts:
            return "account not found"
        known = self.records.messages.get(self.records.key("", message["id"]))
        return "already sent" if known and known.sent_ts is not None else None

    def keep_refused(self, message: dict[str, Any], reason: str) -> None:
        """It keeps refused messages too, and reports them as errors if their account says to whom."""
        account = self.records.accounts.get(self.records.key("", message.get("account_id") or ""))
        if reason == "already sent" or not message["id"] or account is None:
            return
        record = self.records.put(message, tenant_id=account["tenant_id"] or "", priority=2, payload=message)
        record.steps, record.deferred_ts = [error(reason)], None
        self.delivery.schedule(record)

    def accept(self, message: dict[str, Any], default_priority: int) -> None:
        priority = message.get("priority")
        priority = default_priority if priority is None else priority_of(priority)
        payload = {name: message[name] for name in _FIELDS if message.get(name) is not None}
        payload = {"content_type": "plain", **payload, "priority": priority}
        tenant_id = self.records.accounts[self.records.key("", message["account_id"])]["tenant_id"] or ""
        record = self.records.put(message, tenant_id=tenant_id, priority=priority, payload=payload)
        self.delivery.schedule(record, keep_delay=not record.history)

    def run_now(self, request: Request) -> Any:
        self.delivery.run_now(request.parameter("tenant_id"))
        return {"ok": True}

    def suspend(self, request: Request) -> Any:
        # Only its reports stop: the real one goes on sending.
        self.delivery.active = False
        return {"ok": True}

    def activate(self, request: Request) -> Any:
        self.delivery.active = True
        return {"ok": True}

    def delete_messages(self, request: Request) -> Any:
        tenant_id, ids = request.field("tenant_id"), request.json().get("ids", [])
        with self.records.lock:
            removed, unknown, foreign = self.records.remove(tenant_id, ids)
        # It calls unknown ids unauthorized too.
        return {"ok": True, "removed": removed, "not_found": [], "unauthorized": sorted(unknown + foreign)}

    def list_messages(self, request: Request) -> Any:
        active_only = request.query.get("active_only", "").lower() in ("1", "true")
        with self.records.lock:
            records = list(self.records.of_tenant(request.parameter("tenant_id")))
        listed = [_listed(record) for record in records if not active_only or record.status in ("pending", "deferred")]
        return {"ok": True, "messages": listed}

    def add_tenant(self, request: Request) -> Any:
        request.field("id")
        with self.records.lock:
            self.records.add_tenant(request.json())
        self.delivery.run_now(None)
        return {"ok": True}

    def list_tenants(self, request: Request) -> Any:
        with self.records.lock:
            return {"ok": True, "tenants": [_public(tenant) for tenant in self.records.tenants.values()]}

    def get_tenant(self, request: Request, tenant_id: str) -> Any:
        with self.records.lock:
            tenant = self.records.tenants.get(tenant_id)
            return _public(tenant) if tenant else self.no_tenant(tenant_id)

    def no_tenant(self, tenant_id: str) -> Answer:
        return self.error(404, f"Tenant '{tenant_id}' not found")

    def update_tenant(self, request: Request, tenant_id: str) -> Any:
        with self.records.lock:
            if tenant_id not in self.records.tenants:
                return self.no_tenant(tenant_id)
            changes = {name: value for name, value in request.json().items() if value is not None}
            self.records.tenants[tenant_id].update(changes)
        self.delivery.run_now(None)
        return {"ok": True}

    def delete_tenant(self, request: Request, tenant_id: str) -> Any:
        with self.records.lock:
            return {"ok": True} if self.records.tenants.pop(tenant_id, None) else self.no_tenant(tenant_id)

    def add_account(self, request: Request) -> Any:
        request.field("id"), request.field("host"), request.field("port", int)
        account = {"tenant_id": None, "ttl": 300, "limit_behavior": "defer", **request.json()}
        with self.records.lock:
            self.records.accounts[self.records.key("", account["id"])] = account
        return {"ok": True}

    def list_accounts(self, request: Request) -> Any:
        tenant_id = request.parameter("tenant_id")
        with self.records.lock:
            accounts = [known for known in self.records.accounts.values() if known["tenant_id"] == tenant_id]
        return {"ok": True, "accounts": [_public(account) for account in accounts]}

    def delete_account(self, request: Request, account_id: str) -> Any:
        tenant_id = request.parameter("tenant_id")
        with self.records.lock:
            account = self.records.accounts.get(self.records.key("", account_id))
            if account is None or account["tenant_id"] != tenant_id:
                raise Refused(400, "account not found or not owned by tenant")
            del self.records.accounts[self.records.key("", account_id)]
        return {"ok": True}


def _check_shape(index: int, message: Any, required_fields: tuple[str, ...]) -> None:
    """Raise `Invalid` where the API's own model would: for the whole submission, whatever else is in it."""
    at = ("body", "messages", index)
    if not isinstance(message, dict):
        raise Invalid(*at, problem="Input should be a valid dictionary", kind="model_attributes_type")
    for name in required_fields:
        if name not in message:
            raise Invalid(*at, name)
    for name in ("id", "from", "subject", "body"):
        require(isinstance(message.get(name, ""), str), *at, name)
    require(_are_addresses(message["to"]), *at, "to")
    for name in ("cc", "bcc"):
        require(message.get(name) is None or _are_addresses(message[name]), *at, name)
    for name in _TEXT_FIELDS:
        require(isinstance(message.get(name, ""), str | None), *at, name)
    require(isinstance(message.get("headers"), dict | None), *at, "headers")
    require(message.get("deferred_ts") is None or _is_whole(message["deferred_ts"]), *at, "deferred_ts")
    priority = message.get("priority")
    require(priority is None or priority in _LABELS or _is_whole(priority), *at, "priority")
    attachments = message.get("attachments") or []
    require(isinstance(attachments, list), *at, "attachments")
    for number, attachment in enumerate(attachments):
        require(isinstance(attachment, dict), *at, "attachments", number)
        for name in ("filename", "storage_path"):
            require(isinstance(attachment.get(name), str), *at, "attachments", number, name)
        for name in set(attachment) - _ATTACHMENT_FIELDS:
            raise Invalid(
                *at, "attachments", number, name, problem="Extra inputs are not permitted", kind="extra_forbidden"
            )


def require(condition: bool, *location: str | int) -> None:
    if not condition:
        raise Invalid(*location, problem="Input should be of another type", kind="type_error")


def _are_addresses(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_whole(value: Any) -> bool:
    try:
        return float(value).is_integer()
    except (TypeError, ValueError):
        return False


def priority_of(value: Any) -> int:
    return min(3, max(0, _LABELS[value] if value in _LABELS else int(value)))


def _listed(record: Record) -> dict[str, Any]:
    """A message as `GET /messages` shows it: without the keys that have no value."""
    row = {
        "id": record.id,
        "priority": record.priority,
        "account_id": record.account_id,
        "deferred_ts": record.deferred_ts,
        "sent_ts": record.sent_ts,
        "error_ts": record.error_ts,
        "error": record.error,
        "reported_ts": record.reported_ts,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "message": record.message,
    }
    return {name: value for name, value in row.items() if value is not None}


def _public(row: dict[str, Any]) -> dict[str, Any]:
    hidden = ("api_key", "password", "suspended_batches")
    return {name: value for name, value in row.items() if value is not None and name not in hidden}
