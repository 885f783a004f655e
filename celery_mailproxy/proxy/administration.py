"""`ProxyAdministration`: a proxy's tenants and SMTP accounts, for whoever has its administrator's token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .api import Call, row
from .client import ProxyClient

__all__ = ["ProxyAdministration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paths:
    add_tenant: str
    add_account: str


_PATHS: Mapping[str, _Paths] = {
    "commands": _Paths(add_tenant="/tenant", add_account="/account"),
    "entities": _Paths(add_tenant="/tenants/add", add_account="/accounts/add"),
}


class ProxyAdministration(ProxyClient):
    """Reads, adds and changes tenants and accounts. It raises what `ProxyClient` does."""

    def find_account(self, tenant_id: str, account_id: str) -> dict[str, Any] | None:
        """What the proxy knows of a tenant's account, or None; its `password` only where the proxy shows it."""
        account = next((each for each in self.accounts(tenant_id) if each.get("id") == account_id), None)
        if account is None or self.api.name == "commands":
            return account
        params = {"tenant_id": tenant_id, "account_id": account_id}
        return dict(self._ask(Call(method="GET", path="/accounts/get", params=params), row))

    def other_owner(self, tenant_id: str, account_id: str) -> str | None:
        """Another tenant that has an account of this id, and would lose it; None where each has ids of its own."""
        if self.api.name != "commands":
            return None
        others = (str(tenant["id"]) for tenant in self.tenants() if tenant.get("id") != tenant_id)
        return next((other for other in others if self.find_account(other, account_id) is not None), None)

    def add_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> None:
        """Add a tenant. One that is there already would lose what is not among the fields."""
        self._ask(Call(method="POST", path=self._paths.add_tenant, json={"id": tenant_id, **fields}))

    def change_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> None:
        """Change these fields of a tenant, and no others. None for a field changes nothing, either."""
        if self.api.name == "commands":
            self._ask(Call(method="PUT", path=f"/tenant/{quote(tenant_id, safe='')}", json=dict(fields)))
        else:
            self._ask(Call(method="POST", path="/tenants/update", json={"tenant_id": tenant_id, **fields}))

    def put_account(self, tenant_id: str, account_id: str, fields: Mapping[str, Any]) -> None:
        """Add an account, or replace it as a whole: what is not among the fields is lost."""
        account = {"id": account_id, "tenant_id": tenant_id, **fields}
        self._ask(Call(method="POST", path=self._paths.add_account, json=account))

    @property
    def _paths(self) -> _Paths:
        return _PATHS[self.api.name]
