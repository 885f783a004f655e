"""Setting up a proxy over its HTTP API, in either dialect: the part that `RealProxy` and `FakeProxy` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import httpx

__all__ = ["ProxyAdmin"]

_PATHS: dict[str, dict[str, str]] = {
    "commands": {
        "submit": "/commands/add-messages",
        "tenant": "/tenant",
        "account": "/account",
        "delete": "/commands/delete-messages",
        "suspend": "/commands/suspend",
        "activate": "/commands/activate",
    },
    "entities": {
        "submit": "/messages/add_batch",
        "tenant": "/tenants/add",
        "account": "/accounts/add",
        "delete": "/messages/delete_batch",
        "suspend": "/instance/suspend",
        "activate": "/instance/activate",
    },
}


class ProxyAdmin:
    """Adds tenants and accounts to a running proxy and looks at its messages.

    Attributes:
        api: `"commands"` or `"entities"`.
        token: the proxy's admin token.
        url: `http://127.0.0.1:PORT`, without a slash at the end.

    Every method raises `httpx.HTTPStatusError` if the proxy refuses, `httpx.TransportError` if it cannot be reached.
    """

    api: Literal["commands", "entities"]
    token: str
    _client: httpx.Client | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def add_tenant(
        self,
        tenant_id: str,
        *,
        client_base_url: str | None = None,
        sync_path: str | None = None,
        attachment_path: str | None = None,
        bearer_token: str | None = None,
        basic_auth: tuple[str, str] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Add a tenant, or replace its settings.

        Args:
            tenant_id: letters, digits, `_` and `-`.
            client_base_url: where its reports go, e.g. `http://127.0.0.1:9100`; None: they are kept.
            sync_path: the path behind it; the proxy's default is `/mail-proxy/sync`.
            attachment_path: where attachments are asked for; the proxy's default is `/mail-proxy/attachments`.
            bearer_token: sent with both as `Authorization: Bearer …`.
            basic_auth: `(user, password)` instead.
            fields: anything else that the proxy knows: `name`, `rate_limits`, `active` …
        """
        auth: dict[str, str] | None = None
        if bearer_token is not None:
            auth = {"method": "bearer", "token": bearer_token}
        elif basic_auth is not None:
            auth = {"method": "basic", "user": basic_auth[0], "password": basic_auth[1]}
        tenant = {
            "id": tenant_id,
            "client_base_url": client_base_url,
            "client_sync_path": sync_path,
            "client_attachment_path": attachment_path,
            "client_auth": auth,
            **fields,
        }
        return cast("dict[str, Any]", self._post("tenant", tenant))

    def add_account(
        self,
        tenant_id: str,
        account_id: str,
        host: str,
        port: int,
        *,
        use_tls: bool = False,
        **fields: Any,
    ) -> dict[str, Any]:
        """Add an SMTP account of a tenant, or replace its settings.

        `fields` are what else the proxy knows: `user`, `password`, `limit_per_minute`, `limit_per_hour`,
        `limit_per_day`, `limit_behavior` (`"defer"` or `"reject"`), `batch_size` …
        """
        account = {
            "id": account_id,
            "tenant_id": tenant_id,
            "host": host,
            "port": port,
            "use_tls": use_tls,
            **fields,
        }
        return cast("dict[str, Any]", self._post("account", account))

    def submit(self, messages: Sequence[dict[str, Any]], **fields: Any) -> httpx.Response:
        """Submit messages as they are and return the answer, whatever its status."""
        return self._http().post(_PATHS[self.api]["submit"], json={"messages": list(messages), **fields})

    def messages(self, tenant_id: str, *, include_history: bool = False) -> list[dict[str, Any]]:
        """The proxy's own records of a tenant's messages; `include_history` works on the entities API only."""
        if self.api == "commands":
            answer = self._get("/messages", {"tenant_id": tenant_id})
            return cast("list[dict[str, Any]]", answer["messages"])
        query = {"tenant_id": tenant_id, "include_history": include_history}
        return cast("list[dict[str, Any]]", self._get("/messages/list", query))

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Any]:
        """Delete messages and return `{"removed": N, "not_found": …, "unauthorized": …}`."""
        return cast("dict[str, Any]", self._post("delete", {"tenant_id": tenant_id, "ids": list(ids)}))

    def run_now(self, tenant_id: str) -> None:
        """Start a cycle of sending and of reporting at once: reports that were refused come again."""
        if self.api == "commands":
            self._http().post("/commands/run-now", params={"tenant_id": tenant_id}).raise_for_status()
        else:
            self._http().post("/instance/run_now", json={"tenant_id": tenant_id}).raise_for_status()

    def suspend(self, tenant_id: str) -> None:
        """Stop sending; on the commands API for all tenants, and reports stop too."""
        self._post("suspend", {"tenant_id": tenant_id})

    def activate(self, tenant_id: str) -> None:
        """Take up sending again."""
        self._post("activate", {"tenant_id": tenant_id})

    def _http(self) -> httpx.Client:
        if self._client is None:
            headers = {"X-API-Token": self.token}
            # trust_env: a corporate HTTP_PROXY is not for 127.0.0.1.
            self._client = httpx.Client(base_url=self.url, headers=headers, timeout=30.0, trust_env=False)
        return self._client

    def _close_http(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _get(self, path: str, query: dict[str, Any]) -> Any:
        return self._http().get(path, params=query).raise_for_status().json()

    def _post(self, route: str, body: dict[str, Any]) -> Any:
        return self._http().post(_PATHS[self.api][route], json=body).raise_for_status().json()
