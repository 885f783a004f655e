"""What is told to 0.7.0 with each attachment that it is to fetch."""

from __future__ import annotations

from typing import Any

import pytest

from celery_mailproxy.proxy.attachment_credentials import address_attachments

TENANT: dict[str, Any] = {
    "client_base_url": "https://shop.example.com/",
    "client_auth": {"method": "bearer", "token": "secret", "user": None, "password": None},
}


def attached(fetch_mode: str | None, path: str) -> dict[str, Any]:
    one = {"filename": "a.txt", "mime_type": "text/plain", "storage_path": path, "fetch_mode": fetch_mode}
    return {key: value for key, value in one.items() if value is not None}


def addressed(*attachments: dict[str, Any], tenant: dict[str, Any] | None = TENANT, **fields: Any) -> list[Any]:
    message = {"id": "m1", "tenant_id": "t1", "attachments": list(attachments), **fields}
    (again,) = address_attachments([message], lambda tenant_id: tenant)
    assert {**again, "attachments": None} == {**message, "attachments": None}
    return list(again["attachments"])


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://shop.example.com/mail-proxy/attachments"),
        ({"client_attachment_path": "/files"}, "https://shop.example.com/files"),
    ],
)
def test_an_endpoint_gets_the_tenants_url_and_credentials(fields: dict[str, Any], url: str) -> None:
    (one,) = addressed(attached("endpoint", "invoice_id=7"), tenant={**TENANT, **fields})
    assert one["storage_path"] == f"[{url}]invoice_id=7"
    assert one["auth"] == {"method": "bearer", "token": "secret"}


def test_a_url_gets_credentials_only() -> None:
    (one,) = addressed(attached("http_url", "https://files.example.com/a"))
    assert (one["storage_path"], one["auth"]["token"]) == ("https://files.example.com/a", "secret")


@pytest.mark.parametrize("attachment", [attached(None, "base64:QQ=="), attached("filesystem", "/srv/a")])
def test_what_is_not_fetched_over_http_gets_no_secret(attachment: dict[str, Any]) -> None:
    assert addressed(attachment, attached("endpoint", "x=1"))[0] == attachment


def test_of_a_tenant_without_url_or_credentials_nothing_is_made_up() -> None:
    attachment = attached("endpoint", "invoice_id=7")
    assert addressed(attachment, tenant={"client_base_url": None, "client_auth": None}) == [attachment]
    assert addressed(attachment, tenant=None) == [attachment]


def test_nobody_is_asked_about_messages_without_references() -> None:
    messages: list[dict[str, Any]] = [
        {"id": "m1", "tenant_id": "t1"},
        {"id": "m2", "tenant_id": "t1", "attachments": [attached(None, "base64:QQ==")]},
        {"id": "m3", "attachments": [attached("endpoint", "x=1")]},
    ]

    def ask(tenant_id: str) -> None:
        raise AssertionError(tenant_id)

    assert address_attachments(messages, ask) == messages
