"""`proxy_conf`: an application's settings for a fake proxy, with its tenant and account."""

from __future__ import annotations

from typing import Any

from celery_mailproxy.testing import FakeProxy

__all__ = ["proxy_conf"]


def proxy_conf(proxy: FakeProxy) -> dict[str, Any]:
    """Where the proxy is, and who sends through it."""
    return {
        "mail_proxy_url": proxy.url,
        "mail_proxy_token": proxy.token,
        "mail_proxy_tenant": proxy.tenant_id,
        "mail_proxy_account": proxy.account_id,
    }
