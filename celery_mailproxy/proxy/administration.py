"""`ProxyAdministration`: a proxy's tenants and SMTP accounts, for whoever has its administrator's token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .api import row
from .client import ProxyClient

__all__ = ["ProxyAdministration"]


class ProxyAdministration(ProxyClient):
    """Reads, adds and changes tenants and accounts. It raises what `ProxyClient` does."""

    def find_account(self, tenant_id: str, account_id: str) -> dict[str, Any] | None:
        """What the proxy knows of a tenant's account, or None; its `password` only where the proxy shows it."""
        account = next((each for each in self.accounts(tenant_id) if each.get("id") == account_id), None)
        call = self.api.get_account(tenant_id, account_id)
        return account if account is None or call is None else dict(self._ask(call, row))

    def other_owner(self, tenant_id: str, account_id: str) -> str | None:
        """Another tenant that has an account of this id, and would lose it; None where each has ids of its own."""
        if not self.api.shares_account_ids:
            return None
        others = (str(tenant["id"]) for tenant in self.tenants() if tenant.get("id") != tenant_id)
        return next((other for other in others if self.find_account(other, account_id) is not None), None)

    def add_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> None:
        """Add a tenant. One that is there already would lose what is not among the fields."""
        self._ask(self.api.add_tenant(tenant_id, fields))

    def change_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> None:
        """Change these fields of a tenant, and no others. None for a field changes nothing, either."""
        self._ask(self.api.change_tenant(tenant_id, fields))

    def put_account(self, tenant_id: str, account_id: str, fields: Mapping[str, Any]) -> None:
        """Add an account, or replace it as a whole: what is not among the fields is lost."""
        self._ask(self.api.put_account({"id": account_id, "tenant_id": tenant_id, **fields}))
