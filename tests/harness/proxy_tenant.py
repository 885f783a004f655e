"""A tenant with an SMTP account on a running proxy: what one test needs of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from celery_mailproxy.testing.proxy_admin import ProxyAdmin

__all__ = ["ProxyTenant"]


@dataclass(frozen=True, kw_only=True)
class ProxyTenant:
    """Ids that no other test uses, and the tenant's Bearer token for its reports."""

    proxy: ProxyAdmin
    smtp_host: str
    smtp_port: int
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
