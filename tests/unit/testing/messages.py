"""What the tests of the fake proxy submit, and what it reports."""

from __future__ import annotations

from typing import Any

from celery_mailproxy.testing import FakeProxy


def message(name: str, to: str | list[str] = "to@example.com", **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "tenant_id": FakeProxy.tenant_id,
        "account_id": FakeProxy.account_id,
        "from": "from@example.com",
        "to": [to] if isinstance(to, str) else to,
        "subject": "Subject",
        "body": "Body",
        **fields,
    }


def kinds(reports: list[dict[str, Any]]) -> list[str]:
    """Which report it is, in order, by its time's key."""
    return [next(key for key in report if key.endswith("_ts")) for report in reports]
