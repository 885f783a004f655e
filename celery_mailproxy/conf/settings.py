"""Settings: the one place that reads configuration.

A setting `mail_proxy_url` is looked for, in this order, in the Celery app (`app.conf.mail_proxy_url`, which is
`CELERY_MAIL_PROXY_URL` under Django's usual namespace), in Django's settings where Django is configured
(`MAIL_PROXY_URL`), and in the environment (`MAIL_PROXY_URL`). Everything else in the package gets values.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args

from ..errors import ConfigurationError
from . import readers as types
from .migration import MigrationSettings, read_migration
from .readers import UNSET, SyncTokens, Unset

__all__ = [
    "DEFAULT_SERVER",
    "DJANGO_APP",
    "DJANGO_STORE",
    "LEGACY",
    "UNSET",
    "MigrationSettings",
    "ServerSettings",
    "Settings",
    "SyncTokens",
    "Unset",
    "configured_django_settings",
    "load_settings",
    "unknown_variables",
]

#: The name of the server that the top-level settings describe.
DEFAULT_SERVER = "default"

#: In place of a server's name: sent through the legacy transport while a project migrates.
LEGACY: Final = "legacy"

PREFIX = "mail_proxy_"

#: The Django application of this package, and the store that is the default once it is installed.
DJANGO_APP = "celery_mailproxy.django"
DJANGO_STORE = "django://"

#: Which API a proxy speaks: "commands" is that of whichever release has it.
ProxyAPIName = Literal["auto", "commands", "commands-0.5", "commands-0.6", "entities", "v1"]

#: An option of the worker's command line, which `receiver.listener` reads.
_LISTEN = "MAIL_PROXY_LISTEN"

#: What Kubernetes writes for a service whose name begins with mail-proxy.
_KUBERNETES = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")

#: Whether the proxy reports outcomes, is asked for them, or both.
ReportsMode = Literal["push", "poll", "both"]

_MISSING: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How to reach one proxy, and on whose behalf."""

    name: str
    url: str
    token: str | None = field(default=None, repr=False)
    account: str | None = None
    tenant: str | None = None
    api: ProxyAPIName = "auto"
    timeout_seconds: float = 10.0
    ca_file: str | None = None
    client_cert: tuple[str, ...] | None = None
    trust_env: bool = False


def _setting(default: Any, read: Callable[[str, Any], Any], *, secret: bool = False) -> Any:
    """A field of `Settings`: `read(key, value)` turns what the user wrote into its value, or says what is wrong."""
    return field(default=default, repr=not secret, metadata={"read": read})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, read and checked. `docs/reference/settings.md` says what each means; a test compares the two."""

    url: str | None = _setting(None, types.http_url)
    token: str | None = _setting(None, types.header_text, secret=True)
    account: str | None = _setting(None, types.text)
    tenant: str | None = _setting(None, types.text)
    api: ProxyAPIName = _setting("auto", types.one_of(*get_args(ProxyAPIName)))
    timeout_seconds: float = _setting(10.0, types.positive_number)
    ca_file: str | None = _setting(None, types.text)
    client_cert: tuple[str, ...] | None = _setting(None, types.client_cert)
    trust_env: bool = _setting(False, types.boolean)
    servers: Mapping[str, Any] = field(default_factory=dict, repr=False, metadata={"read": types.mapping})
    from_email: str | None = _setting(None, types.text)
    redirect_to: tuple[str, ...] = _setting((), types.address_list)
    allowed_recipients: tuple[str, ...] = _setting((), types.recipient_patterns)
    chunk_size: int = _setting(100, types.positive_integer(maximum=1000))
    max_retries: int = _setting(300, types.natural_integer)
    retry_max_seconds: int = _setting(600, types.positive_integer())

    sync_token: SyncTokens | Unset = _setting(UNSET, types.sync_tokens, secret=True)
    sync_auth: Literal["token", "none"] = _setting("token", types.one_of("token", "none"))
    report_path: str = _setting("/mail-proxy/sync", types.url_path)
    attachments_path: str = _setting("/mail-proxy/attachments", types.url_path)
    max_report_bytes: int = _setting(16 * 1024 * 1024, types.positive_integer())
    next_sync_after: Callable[..., Any] | None = _setting(None, types.callable_or_path)

    dispatch: Literal["worker", "inline"] = _setting("worker", types.one_of("worker", "inline"))
    dispatch_chunk_size: int = _setting(100, types.positive_integer())
    park_seconds: float = _setting(60.0, types.natural_number)
    heal: bool = _setting(True, types.boolean)
    events: bool = _setting(True, types.boolean)

    resume_queue: str | None = _setting(None, types.text)
    resume_args_bytes: int = _setting(16384, types.natural_integer)

    store: str = _setting("sqlite:///celery-mailproxy.sqlite3", types.text, secret=True)
    store_ttl_seconds: float = _setting(30 * 86400.0, types.positive_number)
    store_summary: bool = _setting(True, types.boolean)

    outbox: bool | Unset = _setting(UNSET, types.boolean)
    outbox_seconds: float = _setting(120.0, types.positive_number)
    reports: ReportsMode = _setting("both", types.one_of(*get_args(ReportsMode)))
    overdue_seconds: float = _setting(900.0, types.positive_number)

    maintenance_seconds: float = _setting(10.0, types.natural_number)

    bounce_mailbox: str | None = _setting(None, types.mailbox_url, secret=True)
    bounce_address: str | None = _setting(None, types.verp_template)
    suppression: bool = _setting(False, types.boolean)

    migration: MigrationSettings | None = _setting(None, read_migration)

    # For `celery_mailproxy.django` only.
    on_commit: bool = _setting(True, types.boolean)
    return_results: bool = _setting(False, types.boolean)
    attachment_inline_bytes: int = _setting(256 * 1024, types.natural_integer)
    log_subject: bool = _setting(True, types.boolean)
    log_recipients: bool = _setting(True, types.boolean)
    log_content: bool = _setting(False, types.boolean)

    def server(self, name: str = DEFAULT_SERVER) -> ServerSettings:
        """The proxy of that name. Raises `ConfigurationError` for an unknown one, and where it has no URL."""
        known = self.server_names()
        if name not in known:
            raise ConfigurationError(
                f"server must be one of {', '.join(known)}, got {name!r}{_hint(name, known)} "
                f"Add it to {PREFIX}servers, or set {PREFIX}url for the default one."
            )
        own = self.servers.get(name, {})
        return _read_server(self, name, own)

    def has_url(self, name: str) -> bool:
        """Whether the proxy of that name, one of `server_names`, has a URL."""
        return name != DEFAULT_SERVER or self.url is not None or DEFAULT_SERVER in self.servers

    def server_names(self) -> tuple[str, ...]:
        """The names that `server=` takes, the default one first."""
        named = [name for name in self.servers if name != DEFAULT_SERVER]
        has_default = self.url is not None or DEFAULT_SERVER in self.servers or not named
        return (*([DEFAULT_SERVER] if has_default else []), *sorted(named))


def load_settings(app: Any, *, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of a Celery app. Raises `ConfigurationError` that names the key, its value and the remedy."""
    known = {PREFIX + item.name: item for item in fields(Settings)}
    # Reading the app's configuration is what configures Django's settings, where the app takes it from there.
    app.conf.get(PREFIX + "url")
    django_settings = configured_django_settings()
    _refuse_unknown_keys(app, django_settings, frozenset(known))
    values: dict[str, Any] = {}
    sync_token_key = f"{PREFIX}sync_token"
    for key, item in known.items():
        for shown_key, value in _look_up(key, app, django_settings, os.environ if environ is None else environ):
            # None is how a user unsets what a lower source sets; a token that is None was meant to be one.
            if value is not None or item.name == "sync_token":
                values[item.name] = item.metadata["read"](shown_key, value)
            if item.name == "sync_token":
                sync_token_key = shown_key
            break
    values["sync_token"] = types.settled_sync_tokens(
        sync_token_key, values.get("sync_token", UNSET), auth=values.get("sync_auth", "token")
    )
    if "store" not in values and _has_django_app(django_settings):
        values["store"] = DJANGO_STORE
    settings = Settings(**values)
    for name in settings.servers:
        settings.server(name)
    if settings.migration is not None and LEGACY in settings.servers:
        raise ConfigurationError(
            f"{PREFIX}servers must not name a proxy {LEGACY!r} beside {PREFIX}migration, where that means the legacy "
            f"transport. Rename it."
        )
    return settings


def unknown_variables(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Variables of the environment that look like a setting, and are none: each with the one that it may be meant for.

    They are not refused: another program may read them.
    """
    prefix = PREFIX.upper()
    known = [item.name.upper() for item in fields(Settings)]
    found = [name for name in (os.environ if environ is None else environ) if name.startswith(prefix)]
    ours = {_LISTEN, *(prefix + each for each in known)}
    unknown: dict[str, str | None] = {}
    for name in sorted(each for each in found if each not in ours and not _KUBERNETES.search(each)):
        near = get_close_matches(name.removeprefix(prefix), known, n=1, cutoff=0.6)
        unknown[name] = prefix + near[0] if near else None
    return unknown


def _look_up(key: str, app: Any, django_settings: Any, environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Where the key is set: (the key as the user wrote it, its value), strongest source first."""
    value = app.conf.get(key, _MISSING)
    if value is not _MISSING:
        yield key, value
    value = getattr(django_settings, key.upper(), _MISSING)
    if value is not _MISSING:
        yield key.upper(), value
    if key.upper() in environ:
        yield key.upper(), types.from_environment(environ[key.upper()])


def _refuse_unknown_keys(app: Any, django_settings: Any, known: frozenset[str]) -> None:
    # The environment is not searched: see `unknown_variables`.
    written = [str(key) for key in app.conf]
    if django_settings is not None:
        written.extend(dir(django_settings))
    for shown_key in written:
        key = shown_key.lower().removeprefix("celery_")
        if key.startswith(PREFIX) and key not in known:
            raise ConfigurationError(f"unknown setting {shown_key}.{_hint(key, sorted(known))}")


def configured_django_settings() -> Any:
    """Django's settings where the process has configured them, else None. Never imports or configures Django."""
    conf = sys.modules.get("django.conf")
    settings = getattr(conf, "settings", None)
    return settings if getattr(settings, "configured", False) else None


def _has_django_app(django_settings: Any) -> bool:
    installed = getattr(django_settings, "INSTALLED_APPS", ())
    return any(name == DJANGO_APP or name.startswith(f"{DJANGO_APP}.apps.") for name in installed)


#: What each server may have of its own, and what it takes from the top level. A token belongs to the URL it was given
#: for, and is never sent to another server.
_OWN = ("url", "token")
_INHERITED = ("account", "tenant", "api", "timeout_seconds", "ca_file", "client_cert", "trust_env")

_SERVER_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    item.name: item.metadata["read"] for item in fields(Settings) if item.name in (*_OWN, *_INHERITED)
}


def _read_server(settings: Settings, name: str, own: Any) -> ServerSettings:
    where = f"{PREFIX}servers[{name!r}]"
    if not isinstance(own, Mapping):
        raise ConfigurationError(f"{where} must be a dict with at least a url, got {type(own).__name__}.")
    for key in own:
        if key not in _SERVER_READERS:
            raise ConfigurationError(f"unknown key {key!r} in {where}.{_hint(str(key), list(_SERVER_READERS))}")
    values = {
        key: read(f"{where}[{key!r}]", own[key]) for key, read in _SERVER_READERS.items() if own.get(key) is not None
    }
    inherited = (*_INHERITED, *(_OWN if name == DEFAULT_SERVER else ()))
    values |= {key: getattr(settings, key) for key in inherited if key not in values}
    if values.get("url") is None:
        if name == DEFAULT_SERVER:
            raise ConfigurationError(
                f"{PREFIX}url is not set. Set app.conf.{PREFIX}url (or the environment variable "
                f"{PREFIX.upper()}URL) to the proxy's base URL, for example 'http://mail-proxy:8000'."
            )
        raise ConfigurationError(f"{where} has no url.")
    return ServerSettings(name=name, **values)


def _hint(word: str, candidates: list[str] | tuple[str, ...]) -> str:
    close = get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""
