"""Bringing a tenant and its SMTP account on a proxy to what is wanted: what would change, and changing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..errors import ConfigurationError
from .administration import ProxyAdministration

__all__ = ["Plan", "Row", "State", "Wanted", "apply", "make_plan"]

#: Defaults for a new account.
_NEW_ACCOUNT: Mapping[str, Any] = {"port": 25, "use_tls": False}

#: Fields of an account that are not ours to say, and would be lost if they were left out.
_KEPT = ("batch_size", "limit_behavior", "limit_per_day", "limit_per_hour", "limit_per_minute", "ttl")


class State(str, Enum):
    """What has to be done about one field."""

    SAME = "same"
    CHANGE = "change"
    NEW = "new"
    RESEND = "resend"  #: the proxy does not show it, so it is sent again

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field as it is and as it is wanted, in words that hold no secret. `subject` is `tenant` or `account`."""

    subject: str
    name: str
    now: str
    wanted: str
    state: State

    def to_json(self) -> dict[str, str]:
        return {
            "subject": self.subject,
            "field": self.name,
            "now": self.now,
            "wanted": self.wanted,
            "state": self.state.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted. None stands for "as it is": nothing is changed unasked.

    `callback_url` is the address of the receiver without the paths; `sync_token` what the proxy is to send there.
    `smtp` holds any of `host`, `port`, `user`, `password`, `use_tls`.
    """

    tenant_id: str
    account_id: str
    callback_url: str | None
    sync_path: str
    attachments_path: str
    sync_token: str | None = field(default=None, repr=False)
    smtp: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be done. `tenant` and `account` are the fields to be written, None where nothing is.

    Whether the tenant is active is decided elsewhere, and only shown.
    """

    rows: tuple[Row, ...]
    is_new_tenant: bool
    is_active: bool
    tenant: Mapping[str, Any] | None = field(repr=False)
    account: Mapping[str, Any] | None = field(repr=False)

    @property
    def changes(self) -> int:
        """How many fields differ from what is wanted, as far as the proxy shows them."""
        return sum(row.state in (State.CHANGE, State.NEW) for row in self.rows)

    @property
    def sends_again(self) -> bool:
        """Whether something is written that may well be so already."""
        return any(row.state is State.RESEND for row in self.rows)


def make_plan(proxy: ProxyAdministration, wanted: Wanted) -> Plan:
    """Compare the proxy with what is wanted; nothing is written.

    Raises `ConfigurationError` where something is missing, or something else would be lost on the way.
    """
    tenant = proxy.find_tenant(wanted.tenant_id)
    account = proxy.find_account(wanted.tenant_id, wanted.account_id) if tenant is not None else None
    if account is None and (owner := proxy.other_owner(wanted.tenant_id, wanted.account_id)) is not None:
        raise ConfigurationError(
            f"mail_proxy_account must be another id: on this proxy ids of accounts are common to all tenants, and "
            f"{wanted.account_id!r} is the tenant {owner!r}'s. It would lose the account."
        )
    tenant_rows, tenant_fields = _plan_tenant(tenant, wanted)
    account_rows, account_fields = _plan_account(account, wanted)
    return Plan(
        rows=tuple(row for row in (*tenant_rows, *account_rows) if row.now or row.wanted),
        is_new_tenant=tenant is None,
        is_active=bool((tenant or {}).get("active", True)),
        tenant=tenant_fields,
        account=account_fields,
    )


def apply(proxy: ProxyAdministration, wanted: Wanted, plan: Plan) -> None:
    """Write what the plan says: the tenant first, for the account belongs to it."""
    if plan.tenant is not None:
        write = proxy.add_tenant if plan.is_new_tenant else proxy.change_tenant
        write(wanted.tenant_id, plan.tenant)
    if plan.account is not None:
        proxy.put_account(wanted.tenant_id, wanted.account_id, plan.account)


def _plan_tenant(tenant: Mapping[str, Any] | None, wanted: Wanted) -> tuple[list[Row], Mapping[str, Any] | None]:
    now = tenant or {}
    if not (wanted.callback_url or now.get("client_base_url")):
        raise ConfigurationError(
            "the address of the receiver must be given: the tenant has none on the proxy, and its delivery reports "
            "would go nowhere. Name it as the proxy reaches it, for example --callback-url https://app.example.com."
        )
    asked = {
        "client_base_url": wanted.callback_url,
        "client_sync_path": wanted.sync_path,
        "client_attachment_path": wanted.attachments_path,
    }
    rows = [_row("tenant", name, now.get(name), value, is_new=tenant is None) for name, value in asked.items()]
    fields: dict[str, Any] = {row.name: asked[row.name] for row in rows if row.state is not State.SAME}
    if wanted.sync_token is not None:
        row = _credential_row(now.get("client_auth") or {}, wanted.sync_token, is_new=tenant is None)
        rows.append(row)
        if row.state is not State.SAME:
            fields["client_auth"] = {"method": "bearer", "token": wanted.sync_token}
    return [_subject_row("tenant", wanted.tenant_id, is_new=tenant is None), *rows], fields or None


def _plan_account(account: Mapping[str, Any] | None, wanted: Wanted) -> tuple[list[Row], Mapping[str, Any] | None]:
    is_new = account is None
    now = account or {}
    given = {name: value for name, value in wanted.smtp.items() if value is not None and value != ""}
    asked = {**(_NEW_ACCOUNT if is_new else {}), **given}
    if is_new and "host" not in asked:
        raise ConfigurationError(
            f"the SMTP server must be given: the tenant has no account {wanted.account_id!r} on the proxy yet. Name it "
            "with --smtp-host, as the proxy reaches it; in Django EMAIL_HOST or MAILERS may name it, too."
        )
    names = ("host", "port", "user", "use_tls")
    rows = [_row("account", name, now.get(name), asked.get(name), is_new=is_new) for name in names]
    rows.append(_password_row(now, asked.get("password"), is_new=is_new))
    rows.insert(0, _subject_row("account", wanted.account_id, is_new=is_new))
    if all(row.state is State.SAME for row in rows):
        return rows, None
    kept = {name: now[name] for name in (*names, "password", *_KEPT) if now.get(name) is not None}
    fields = kept | asked
    _refuse_losses(now, fields, wanted)
    # The APIs differ in their defaults; this is what the proxy itself does with a missing value.
    fields.setdefault("use_tls", fields.get("port") == 465)
    return rows, fields


def _refuse_losses(now: Mapping[str, Any], fields: Mapping[str, Any], wanted: Wanted) -> None:
    if now.get("is_pec_account"):
        raise ConfigurationError(
            f"the account {wanted.account_id!r} is for certified mail and would lose that: change it on the proxy "
            "itself."
        )
    if now.get("user") and not fields.get("password"):
        raise ConfigurationError(
            f"the password of the account {wanted.account_id!r} must be given: this proxy does not show it, and would "
            "forget it with any change."
        )


def _subject_row(subject: str, subject_id: str, *, is_new: bool) -> Row:
    state = State.NEW if is_new else State.SAME
    return Row(subject=subject, name="id", now="" if is_new else subject_id, wanted=subject_id, state=state)


def _row(subject: str, name: str, now: Any, value: Any, *, is_new: bool) -> Row:
    is_same = value is None or now == value
    state = State.SAME if is_same else State.NEW if is_new else State.CHANGE
    return Row(subject=subject, name=name, now=_word(now), wanted=_word(now if value is None else value), state=state)


def _credential_row(auth: Mapping[str, Any], token: str, *, is_new: bool) -> Row:
    method = str(auth.get("method") or "none")
    # The receiver compares the whole of what is sent, whichever way it came.
    credential = f"{auth.get('user', '')}:{auth.get('password', '')}" if method == "basic" else auth.get("token")
    if credential == token:
        state, now = State.SAME, f"{method}, mail_proxy_sync_token"
    else:
        state = State.NEW if is_new else State.CHANGE
        now = "" if is_new else "none" if method == "none" else f"{method}, another token"
    wanted = now if state is State.SAME else "bearer, the sync token"
    return Row(subject="tenant", name="client_auth", now=now, wanted=wanted, state=state)


def _password_row(now: Mapping[str, Any], password: str | None, *, is_new: bool) -> Row:
    shown = now.get("password")
    words = "set" if shown else "not shown" if now.get("user") and "password" not in now else ""
    if password is None or (shown is not None and shown == password):
        return Row(subject="account", name="password", now=words, wanted=words, state=State.SAME)
    state = State.NEW if is_new else State.RESEND if "password" not in now else State.CHANGE
    return Row(subject="account", name="password", now=words, wanted="as given", state=state)


def _word(value: Any) -> str:
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
