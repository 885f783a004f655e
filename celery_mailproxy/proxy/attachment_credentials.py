"""Address and credentials that go with each attachment to a proxy that forgets whose message it is.

0.7.0 takes a message's tenant away before it fetches the attachments, and with it the tenant's
attachment URL and credentials. It does use both where they stand beside the attachment itself: a URL in brackets before
the path, and `auth`. The proxy gets back what it has given us; no one else sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .api import UnreadableAnswer, row

__all__ = ["address_attachments", "tenant_of"]

#: The proxy's default where a tenant has no `client_attachment_path`.
_DEFAULT_PATH = "/mail-proxy/attachments"

_AUTH_KEYS = ("method", "token", "user", "password")


def tenant_of(body: Any) -> dict[str, Any]:
    """The tenant in an answer of the proxy's. Raises `UnreadableAnswer` where it has another shape."""
    tenant = row(body)
    texts = (tenant.get("client_base_url"), tenant.get("client_attachment_path"))
    if not all(isinstance(text, str | None) for text in texts) or not isinstance(
        tenant.get("client_auth"), Mapping | None
    ):
        raise UnreadableAnswer("the answer is no tenant")
    return tenant


def address_attachments(
    messages: Sequence[Mapping[str, Any]], find_tenant: Callable[[str], Mapping[str, Any] | None]
) -> list[Mapping[str, Any]]:
    """The messages, as `payload.encode` gives them, with address and credentials of what the proxy fetches.

    `find_tenant` is asked about tenants with such attachments only. Where it knows none, a message stays as it is: the
    proxy says what is wrong with it.
    """
    return [_addressed(message, find_tenant) for message in messages]


def _addressed(message: Mapping[str, Any], find_tenant: Callable[[str], Mapping[str, Any] | None]) -> Mapping[str, Any]:
    attachments: Sequence[Mapping[str, Any]] = message.get("attachments") or ()
    tenant_id = message.get("tenant_id")
    if not tenant_id or not any(_is_fetched(each) for each in attachments):
        return message
    tenant = find_tenant(tenant_id)
    if tenant is None:
        return message
    return {**message, "attachments": [_with_address(each, tenant) for each in attachments]}


def _is_fetched(attachment: Mapping[str, Any]) -> bool:
    return attachment.get("fetch_mode") in ("endpoint", "http_url")


def _with_address(attachment: Mapping[str, Any], tenant: Mapping[str, Any]) -> Mapping[str, Any]:
    if not _is_fetched(attachment):
        return attachment
    addressed = dict(attachment)
    base = tenant.get("client_base_url")
    if base and attachment["fetch_mode"] == "endpoint":
        path = tenant.get("client_attachment_path") or _DEFAULT_PATH
        addressed["storage_path"] = f"[{base.rstrip('/')}{path}]{attachment['storage_path']}"
    credentials = tenant.get("client_auth") or {}
    if auth := {key: credentials[key] for key in _AUTH_KEYS if credentials.get(key)}:
        addressed["auth"] = auth
    return addressed
