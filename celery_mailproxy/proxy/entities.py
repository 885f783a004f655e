"""The entities API: genro-mail-proxy from 0.7 on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .api import Call, ProxyAPI, rows

__all__ = ["EntitiesAPI"]


class EntitiesAPI(ProxyAPI):
    """`POST /messages/add_batch` and its siblings; a submission is a 200 even when every message was refused."""

    name = "entities"
    submit_path = "/messages/add_batch"
    forgets_tenants = True

    def _submission_answer(self, status: int, body: Any) -> Mapping[str, Any] | None:
        return body if status == 200 and isinstance(body, Mapping) else None

    def list_messages(self, tenant_id: str) -> Call:
        return Call(method="GET", path="/messages/list", params={"tenant_id": tenant_id})

    def read_messages(self, body: Any) -> list[dict[str, Any]]:
        return rows(body)

    def get_message(self, tenant_id: str, message_id: str) -> Call | None:
        # 0.7.0 reads a message's row and writes it back without a lock: a submission that meets the sending of the
        # same message would make it pending again, and it would be sent twice.
        params = {"message_id": message_id, "tenant_id": tenant_id}
        return Call(method="GET", path="/messages/get", params=params)

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Call:
        return Call(method="POST", path="/messages/delete_batch", json={"tenant_id": tenant_id, "ids": list(ids)})

    def get_tenant(self, tenant_id: str) -> Call:
        return Call(method="GET", path="/tenants/get", params={"tenant_id": tenant_id})

    def list_tenants(self) -> Call:
        return Call(method="GET", path="/tenants/list")

    def read_tenants(self, body: Any) -> list[dict[str, Any]]:
        return rows(body)

    def list_accounts(self, tenant_id: str | None) -> Call:
        return Call(method="GET", path="/accounts/list", params={"tenant_id": tenant_id} if tenant_id else {})

    def read_accounts(self, body: Any) -> list[dict[str, Any]]:
        return rows(body)

    def activity(self) -> Call | None:
        return Call(method="GET", path="/instance/status")

    def run_now(self, tenant_id: str) -> Call:
        return Call(method="POST", path="/instance/run_now", json={"tenant_id": tenant_id})
