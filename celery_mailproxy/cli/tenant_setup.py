"""What `celery mailproxy setup` and `manage.py mailproxy_setup` share: from options to tenant and account."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..conf.settings import ServerSettings, Settings, Unset
from ..errors import ConfigurationError
from ..proxy.administration import ProxyAdministration
from ..proxy.provisioning import Plan, Wanted, apply, make_plan
from .plan_view import show_plan
from .terminal import Terminal

__all__ = ["read_password", "set_up", "show_outcome", "wanted_of"]


def wanted_of(
    settings: Settings,
    server: ServerSettings,
    *,
    callback_url: str | None,
    smtp: Mapping[str, Any],
    sync_path: str | None = None,
    attachments_path: str | None = None,
) -> Wanted:
    """The tenant and the account of a server's settings. Paths are the receiver's own, unless they are given.

    A callback URL may end with the path of the reports, as a receiver shows it. Raises `ConfigurationError`.
    """
    if server.tenant is None or server.account is None:
        missing = "tenant" if server.tenant is None else "account"
        raise ConfigurationError(f"mail_proxy_{missing} must be set: it is the id under which it will be created.")
    sync_path = sync_path or settings.report_path
    attachments_path = attachments_path or settings.attachments_path
    return Wanted(
        tenant_id=server.tenant,
        account_id=server.account,
        callback_url=_base_of(callback_url, (sync_path, attachments_path)),
        sync_path=sync_path,
        attachments_path=attachments_path,
        sync_token=_sync_token(settings, server.tenant),
        smtp=smtp,
    )


def read_password(path: str | None) -> str | None:
    """The SMTP password in a file; `-` is standard input. Raises `ConfigurationError` and `OSError`."""
    if path is None:
        return None
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    if not (password := text.strip("\r\n")):
        raise ConfigurationError(f"--smtp-password-file must hold a password, and {path} is empty.")
    return password


def set_up(terminal: Terminal | None, server: ServerSettings, wanted: Wanted, *, is_dry_run: bool) -> Plan:
    """Bring the proxy to what is wanted, and show on the terminal what that takes. Raises any `MailProxyError`."""
    proxy = ProxyAdministration(server)
    try:
        plan = make_plan(proxy, wanted)
        if terminal is not None:
            terminal.line(f"{proxy.server.url} ({proxy.api.name} API)")
            show_plan(terminal, plan)
        if not is_dry_run:
            apply(proxy, wanted, plan)
    finally:
        proxy.close()
    return plan


def show_outcome(terminal: Terminal, plan: Plan, notes: Sequence[str], *, is_dry_run: bool, is_json: bool) -> None:
    """Say what was done, or would be, and what may still not work."""
    if is_json:
        rows = [row.to_json() for row in plan.rows]
        terminal.json({"changes": plan.changes, "is_dry_run": is_dry_run, "rows": rows, "notes": list(notes)})
        return
    terminal.line(_verdict(plan, is_dry_run=is_dry_run))
    for note in notes:
        terminal.line(f"{terminal.symbol('→', '->')} {note}")


def _base_of(url: str | None, paths: Sequence[str]) -> str | None:
    for path in paths:
        if url is not None and path.strip("/") and url.rstrip("/").endswith(path.rstrip("/")):
            return url.rstrip("/").removesuffix(path.rstrip("/"))
    return url


def _sync_token(settings: Settings, tenant_id: str) -> str | None:
    """The token that the tenant is to send; the new one while two are good. None where anybody may report."""
    tokens = settings.sync_token
    if settings.sync_auth == "none":
        return None
    # Unset, or other tenants' only: this one's reports would all be refused.
    found = () if isinstance(tokens, Unset) else tokens.get(tenant_id) or tokens.get(None) or ()
    if not found:
        raise ConfigurationError(
            f"mail_proxy_sync_token must hold a token for the tenant {tenant_id!r}: set it to a long random text."
        )
    return found[0]


def _verdict(plan: Plan, *, is_dry_run: bool) -> str:
    fields = f"{plan.changes} field{'' if plan.changes == 1 else 's'}"
    again = ""
    if plan.sends_again:
        again = f" The password {'would be' if is_dry_run else 'was'} sent again: this proxy does not show it."
    if not plan.changes:
        return f"Nothing to change.{again}"
    return f"{fields} would change. Nothing was written.{again}" if is_dry_run else f"{fields} changed.{again}"
