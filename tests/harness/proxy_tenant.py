"""A tenant with an SMTP account on a running proxy: what one test needs of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.proxy_admin import ProxyAdmin

__all__ = ["ProxyTenant"]


@dataclass(frozen=True, kw_only=True)
class ProxyTenant:
    """Ids that no other test uses, and the tenant's Bearer token for its reports.

    `FakeProxy` sends to no SMTP server, so its accounts need none.
    """

    proxy: ProxyAdmin
    smtp_host: str = "127.0.0.1"
    smtp_port: int = 25
    suffix: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def id(self) -> str:
        return f"tenant-{self.suffix}"

    @property
    def account_id(self) -> str:
        return f"account-{self.suffix}"

    @property
    def sync_token(self) -> str:
        return f"sync-{self.suffix}"

    def add(self, client_base_url: str | None = None, **fields: Any) -> ProxyTenant:
        """Add the tenant (or change where its reports go) and its account."""
        fields = {"bearer_token": self.sync_token, **fields}
        self.proxy.add_tenant(self.id, client_base_url=client_base_url, **fields)
        self.proxy.add_account(self.id, self.account_id, self.smtp_host, self.smtp_port)
        return self

    def under_way(self) -> list[str]:
        """The ids of the messages that the proxy is to send now, or of which nobody has taken a report yet."""
        messages = self.proxy.messages(self.id, include_history=True)
        if isinstance(self.proxy, FakeProxy):
            # It sends what its plans say when they say it.
            mine = {each["id"] for each in messages}
            return [each["id"] for each in self.proxy.pending_reports if each["id"] in mine]
        return [each["id"] for each in messages if _is_due(each) or _is_unreported(each)]

    def message_id(self, name: str) -> str:
        return f"{name}-{self.suffix}"

    def message(self, name: str, to: str | list[str] = "to@example.com", **fields: Any) -> dict[str, Any]:
        """A message as the proxy takes it; a field given as None is left out."""
        message = {
            "id": self.message_id(name),
            "tenant_id": self.id,
            "account_id": self.account_id,
            "from": "from@example.com",
            "to": [to] if isinstance(to, str) else to,
            "subject": f"Subject of {name}",
            "body": f"Body of {name}",
            **fields,
        }
        return {key: value for key, value in message.items() if value is not None}


def _is_ended(message: Mapping[str, Any]) -> bool:
    # Of 0.7.0 the second, of the others the first, of all the third.
    return any(message.get(name) for name in ("sent_ts", "smtp_ts", "error_ts"))


def _is_due(message: Mapping[str, Any]) -> bool:
    return not _is_ended(message) and (message.get("deferred_ts") or 0) <= time.time()


def _is_unreported(message: Mapping[str, Any]) -> bool:
    if "history" in message:
        return any(event.get("reported_ts") is None for event in message["history"])
    return _is_ended(message) and not message.get("reported_ts")
