"""The commands APIs: genro-mail-proxy 0.5.0, and 0.5.8 to 0.6.10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from .api import ALREADY_SENT, Call, ProxyAPI, listed_of, rows

__all__ = ["Commands05API", "Commands06API", "CommandsAPI"]


class CommandsAPI(ProxyAPI):
    """`POST /commands/…`; all refused is a 400, an id already sent is "rejected"."""

    submit_path = "/commands/add-messages"

    def _submission_answer(self, status: int, body: Any) -> Mapping[str, Any] | None:
        if not isinstance(body, Mapping):
            return None
        if status == 200:
            return body
        detail = self._all_refused(body)
        # 400 {"detail": {"error": null, "rejected": […]}}: every message was refused, each for its own reason.
        if status == 400 and isinstance(detail, Mapping) and detail.get("rejected"):
            return detail
        return None

    def _all_refused(self, body: Mapping[str, Any]) -> Any:
        """What a 400 says of the messages."""
        return body.get("detail")

    def list_messages(self, tenant_id: str, *, pending_only: bool = False) -> Call:
        return Call(method="GET", path="/messages", params=listed_of(tenant_id, pending_only))

    def read_messages(self, body: Any) -> list[dict[str, Any]]:
        return rows(body, "messages")

    # The tenant in query and body: 0.5.0 looks for it in the body, the others in the query, and none minds both.

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Call:
        body = {"tenant_id": tenant_id, "ids": list(ids)}
        return Call(method="POST", path="/commands/delete-messages", params={"tenant_id": tenant_id}, json=body)

    def suspend(self, tenant_id: str, batch_code: str | None = None) -> Call:
        return _of_tenant("/commands/suspend", tenant_id, batch_code)

    def activate(self, tenant_id: str, batch_code: str | None = None) -> Call:
        return _of_tenant("/commands/activate", tenant_id, batch_code)

    def get_tenant(self, tenant_id: str) -> Call:
        return Call(method="GET", path=f"/tenant/{quote(tenant_id, safe='')}")

    def list_tenants(self) -> Call:
        return Call(method="GET", path="/tenants")

    def read_tenants(self, body: Any) -> list[dict[str, Any]]:
        return rows(body, "tenants")

    def add_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> Call:
        return Call(method="POST", path="/tenant", json={"id": tenant_id, **fields})

    def change_tenant(self, tenant_id: str, fields: Mapping[str, Any]) -> Call:
        return Call(method="PUT", path=f"/tenant/{quote(tenant_id, safe='')}", json=dict(fields))

    def list_accounts(self, tenant_id: str | None) -> Call:
        return Call(method="GET", path="/accounts", params={"tenant_id": tenant_id} if tenant_id else {})

    def read_accounts(self, body: Any) -> list[dict[str, Any]]:
        return rows(body, "accounts")

    def put_account(self, account: Mapping[str, Any]) -> Call:
        return Call(method="POST", path="/account", json=dict(account))

    def run_now(self, tenant_id: str) -> Call:
        # 0.5.0 wants the tenant; the others take it from the token, and wake all for an administrator's.
        return Call(method="POST", path="/commands/run-now", params={"tenant_id": tenant_id})


class Commands05API(CommandsAPI):
    """0.5.0: accounts are common to all tenants, and an id that ended as error is taken again."""

    name = "commands-0.5"
    shares_account_ids: ClassVar[bool] = True
    can_suspend: ClassVar[bool] = False


class Commands06API(CommandsAPI):
    """0.5.8 to 0.6.10: "already sent" is also said of an id that was refused or ended as error."""

    name = "commands-0.6"
    refusal_spoils_pending: ClassVar[bool] = True

    def unsure(self, ids: Sequence[str], status: int, body: Any) -> tuple[str, ...]:
        refusals = self._said(status, body)
        return tuple(each for each in ids if refusals.get(each) == ALREADY_SENT)

    def activity(self) -> Call | None:
        return Call(method="GET", path="/status")


def _of_tenant(path: str, tenant_id: str, batch_code: str | None) -> Call:
    fields = {"tenant_id": tenant_id} | ({} if batch_code is None else {"batch_code": batch_code})
    return Call(method="POST", path=path, params=fields, json=fields)
