"""Add a tenant and its SMTP account to the proxy, or set them anew: run once, with the standard library alone."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any


def main() -> None:
    env = os.environ
    post(
        "/tenants/add",
        id=env["TENANT_ID"],
        client_base_url=env["TENANT_REPORTS_TO"],
        client_auth={"method": "bearer", "token": env["TENANT_SYNC_TOKEN"]},
    )
    post(
        "/accounts/add",
        id=env["ACCOUNT_ID"],
        tenant_id=env["TENANT_ID"],
        host=env["SMTP_HOST"],
        port=int(env["SMTP_PORT"]),
        use_tls=False,
    )
    print(f"tenant {env['TENANT_ID']} with account {env['ACCOUNT_ID']} reports to {env['TENANT_REPORTS_TO']}")


def post(path: str, **fields: Any) -> None:
    request = urllib.request.Request(  # noqa: S310 - the URL is that of docker-compose.yml
        os.environ["PROXY_URL"] + path,
        data=json.dumps(fields).encode(),
        headers={"Content-Type": "application/json", "X-API-Token": os.environ["PROXY_API_TOKEN"]},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        answer.read()


if __name__ == "__main__":
    main()
