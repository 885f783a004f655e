"""Setting up a proxy over its HTTP API, in each dialect: the part that `RealProxy` and `FakeProxy` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import httpx

__all__ = ["API", "Profile", "ProxyAdmin", "profile_of"]

#: How a proxy is named: by the API that it speaks. "commands" is the same as "commands-0.5".
API = Literal["commands", "commands-0.5", "commands-0.6", "entities", "v1"]

#: The API, by one name each.
Profile = Literal["commands-0.5", "commands-0.6", "entities", "v1"]

_PROFILES: dict[str, Profile] = {
    "commands": "commands-0.5",
    "commands-0.5": "commands-0.5",
    "commands-0.6": "commands-0.6",
    "entities": "entities",
    "v1": "v1",
}

_COMMANDS = {
    "submit": "/commands/add-messages",
    "tenant": "/tenant",
    "account": "/account",
    "delete": "/commands/delete-messages",
    "suspend": "/commands/suspend",
    "activate": "/commands/activate",
}
_ENTITIES = {
    "submit": "/messages/add_batch",
    "tenant": "/tenants/add",
    "account": "/accounts/add",
    "delete": "/messages/delete_batch",
    "suspend": "/instance/suspend",
    "activate": "/instance/activate",
}


def profile_of(api: str) -> Profile:
    """The one name of an API. Raises `ValueError` for none that is known."""
    if api not in _PROFILES:
        raise ValueError(f"api must be one of {', '.join(map(repr, _PROFILES))}, got {api!r}")
    return _PROFILES[api]


class ProxyAdmin:
    """Adds tenants and accounts to a running proxy and looks at its messages.

    Attributes:
        api: the API that it was made for, as it was named.
        token: the proxy's admin token.
        url: `http://127.0.0.1:PORT`, without a slash at the end.

    Every method raises `httpx.HTTPStatusError` if the proxy refuses, `httpx.TransportError` if it cannot be reached.
    """

    api: API
    token: str
    _client: httpx.Client | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def profile(self) -> Profile:
        """The API that it speaks, by its one name: `"commands-0.5"`, `"commands-0.6"`, `"entities"` or `"v1"`."""
        return profile_of(self.api)

    @property
    def base_path(self) -> str:
        """What goes before every path of the API, without a slash at the end."""
        return "/mailproxy/v1" if self.profile == "v1" else ""

    @property
    def submit_path(self) -> str:
        """The path that messages are submitted to."""
        return self.base_path + self._paths["submit"]

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
        return self._http().post(self._paths["submit"], json={"messages": list(messages), **fields})

    def messages(self, tenant_id: str, *, include_history: bool = False) -> list[dict[str, Any]]:
        """The proxy's own records of a tenant's messages; `include_history` works from 0.6.4 on."""
        query = {"tenant_id": tenant_id, "include_history": include_history}
        if self.profile != "entities":
            return cast("list[dict[str, Any]]", self._get("/messages", query)["messages"])
        return cast("list[dict[str, Any]]", self._get("/messages/list", query))

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Any]:
        """Delete messages and return `{"removed": N, "not_found": …, "unauthorized": …}`."""
        return cast("dict[str, Any]", self._post("delete", {"tenant_id": tenant_id, "ids": list(ids)}, of=tenant_id))

    def run_now(self, tenant_id: str) -> None:
        """Start a cycle of sending and of reporting at once: reports that were refused come again."""
        if self.profile != "entities":
            self._http().post("/commands/run-now", params={"tenant_id": tenant_id}).raise_for_status()
        else:
            self._http().post("/instance/run_now", json={"tenant_id": tenant_id}).raise_for_status()

    def suspend(self, tenant_id: str) -> None:
        """Stop sending; 0.5.0 goes on sending for all tenants, and stops all reports."""
        self._post("suspend", {"tenant_id": tenant_id}, of=tenant_id)

    def activate(self, tenant_id: str) -> None:
        """Take up sending again."""
        self._post("activate", {"tenant_id": tenant_id}, of=tenant_id)

    def _http(self) -> httpx.Client:
        if self._client is None:
            headers = {"X-API-Token": self.token}
            # trust_env: a corporate HTTP_PROXY is not for 127.0.0.1.
            self._client = httpx.Client(
                base_url=self.url + self.base_path, headers=headers, timeout=30.0, trust_env=False
            )
        return self._client

    def _close_http(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _get(self, path: str, query: dict[str, Any]) -> Any:
        return self._http().get(path, params=query).raise_for_status().json()

    @property
    def _paths(self) -> dict[str, str]:
        return _ENTITIES if self.profile == "entities" else _COMMANDS

    def _post(self, route: str, body: dict[str, Any], *, of: str | None = None) -> Any:
        # In the query for 0.6 and v1, in the body for the others; none minds both.
        query = {} if of is None else {"tenant_id": of}
        return self._http().post(self._paths[route], params=query, json=body).raise_for_status().json()
