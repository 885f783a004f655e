"""The commands API: genro-mail-proxy up to 0.6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .api import Call, ProxyAPI, rows

__all__ = ["CommandsAPI"]


class CommandsAPI(ProxyAPI):
    """`POST /commands/…`; all refused is a 400, an id already sent is "rejected"."""

    name = "commands"
    submit_path = "/commands/add-messages"

    def _submission_answer(self, status: int, body: Any) -> Mapping[str, Any] | None:
        if not isinstance(body, Mapping):
            return None
        if status == 200:
            return body
        detail = body.get("detail")
        # 400 {"detail": {"error": null, "rejected": […]}}: every message was refused, each for its own reason.
        if status == 400 and isinstance(detail, Mapping) and detail.get("rejected"):
            return detail
        return None

    def list_messages(self, tenant_id: str) -> Call:
        return Call(method="GET", path="/messages", params={"tenant_id": tenant_id})

    def read_messages(self, body: Any) -> list[dict[str, Any]]:
        return rows(body, "messages")

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Call:
        return Call(method="POST", path="/commands/delete-messages", json={"tenant_id": tenant_id, "ids": list(ids)})

    def get_tenant(self, tenant_id: str) -> Call:
        return Call(method="GET", path=f"/tenant/{tenant_id}")

    def list_tenants(self) -> Call:
        return Call(method="GET", path="/tenants")

    def read_tenants(self, body: Any) -> list[dict[str, Any]]:
        return rows(body, "tenants")

    def list_accounts(self, tenant_id: str | None) -> Call:
        return Call(method="GET", path="/accounts", params={"tenant_id": tenant_id} if tenant_id else {})

    def read_accounts(self, body: Any) -> list[dict[str, Any]]:
        return rows(body, "accounts")

    def run_now(self, tenant_id: str) -> Call:
        return Call(method="POST", path="/commands/run-now", params={"tenant_id": tenant_id})
