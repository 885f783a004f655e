"""The entities API: genro-mail-proxy 0.7.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .api import Call, ProxyAPI, listed_of, rows

__all__ = ["EntitiesAPI"]


class EntitiesAPI(ProxyAPI):
    """`POST /messages/add_batch` and its siblings; a submission is a 200 even when every message was refused."""

    name = "entities"
    submit_path = "/messages/add_batch"
    forgets_tenants = True
    resubmission_is_unsafe = True
    get_hides_errors = True
    nests_deferred = True

    def _submission_answer(self, status: int, body: Any) -> Mapping[str, Any] | None:
        return body if status == 200 and isinstance(body, Mapping) else None

    def unsure(self, ids: Sequence[str], status: int, body: Any) -> tuple[str, ...]:
        # An id that was sent, or ended as error, is passed over: it is neither counted nor rejected.
        refusals = self._said(status, body)
        accepted = [each for each in ids if each not in refusals]
        queued = body.get("queued") if isinstance(body, Mapping) else None
        is_counted = isinstance(queued, int) and queued >= len(accepted)
        return () if is_counted else tuple(accepted)

    def list_messages(self, tenant_id: str, *, pending_only: bool = False) -> Call:
        return Call(method="GET", path="/messages/list", params=listed_of(tenant_id, pending_only))

    def read_messages(self, body: Any) -> list[dict[str, Any]]:
        return rows(body)

    def get_message(self, tenant_id: str, message_id: str) -> Call | None:
        params = {"message_id": message_id, "tenant_id": tenant_id}
        return Call(method="GET", path="/messages/get", params=params)

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Call:
        return Call(method="POST", path="/messages/delete_batch", json={"tenant_id": tenant_id, "ids": list(ids)})

    def suspend(self, tenant_id: str, batch_code: str | None = None) -> Call:
        return _of_tenant("/instance/suspend", tenant_id, batch_code)

    def activate(self, tenant_id: str, batch_code: str | None = None) -> Call:
        return _of_tenant("/instance/activate", tenant_id, batch_code)

    def get_tenant(self, tenant_id: str) -> Call:
        return Call(method="GET", path="/tenants/get", params={"tenant_id": tenant_id})

    def list_tenants(self) -> Call:
        return Call(method="GET", path="/tenants/list")

    def read_tenants(self, body: Any) -> list[dict[str, Any]]:
        return rows(body)

    def add_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> Call:
        return Call(method="POST", path="/tenants/add", json={"id": tenant_id, **fields})

    def change_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> Call:
        return Call(method="POST", path="/tenants/update", json={"tenant_id": tenant_id, **fields})

    def list_accounts(self, tenant_id: str | None) -> Call:
        return Call(method="GET", path="/accounts/list", params={"tenant_id": tenant_id} if tenant_id else {})

    def read_accounts(self, body: Any) -> list[dict[str, Any]]:
        return rows(body)

    def get_account(self, tenant_id: str, account_id: str) -> Call | None:
        return Call(method="GET", path="/accounts/get", params={"tenant_id": tenant_id, "account_id": account_id})

    def put_account(self, account: Mapping[str, Any]) -> Call:
        return Call(method="POST", path="/accounts/add", json=dict(account))

    def activity(self) -> Call | None:
        return Call(method="GET", path="/instance/status")

    def run_now(self, tenant_id: str) -> Call:
        return Call(method="POST", path="/instance/run_now", json={"tenant_id": tenant_id})


def _of_tenant(path: str, tenant_id: str, batch_code: str | None) -> Call:
    fields = {"tenant_id": tenant_id} | ({} if batch_code is None else {"batch_code": batch_code})
    return Call(method="POST", path=path, json=fields)
