"""System checks of the project's settings, servers, mailers, URLs and file storage.

`celery_mailproxy.django.checks` registers them.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from celery import Celery, current_app
from django.conf import settings as django_settings
from django.core import mail
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, storages

from ...conf.settings import DEFAULT_SERVER, ServerSettings, Settings, Unset, load_settings
from ...errors import ConfigurationError
from ...receiver.authenticator import Authenticator
from ..backend.celery_email import CeleryEmailSettings
from ..backend.mailers import configured_mailers
from ..log import content
from .celery_email_checks import OURS
from .mounting import sync_path

__all__ = ["check_app", "check_mailers", "check_servers", "check_settings", "check_storage", "check_urls"]

#: Names that are resolved inside a network of one's own only (RFC 6761, RFC 6762, RFC 8375, and custom).
_INNER_DOMAINS = ("localhost", "local", "internal", "lan", "home.arpa", "svc", "test")

_URLS_HINT = 'Add path("mail-proxy/", include("celery_mailproxy.django.urls")) to your urlpatterns'


def check_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E001: a setting is wrong, and the message says which."""
    try:
        settings = load_settings(current_app)
        if not isinstance(settings.sync_token, Unset):
            Authenticator(settings.sync_token)
        CeleryEmailSettings.load()
    except ConfigurationError as exc:
        hint = "Correct it. Every setting is explained in docs/reference/settings.md of celery-mailproxy."
        return [Error(f"A setting of celery-mailproxy is wrong: {exc}", hint=hint, id="celery_mailproxy.E001")]
    return []


def check_app(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W001: the web server's threads have no Celery app of the project's."""
    if _app_of_threads().main != "default":
        return []
    problem = "The web server's threads see no Celery app of yours: their emails would go to Celery's default broker."
    hint = (
        "Import the app in the __init__.py of your project (from .celery import app as celery_app), with "
        "DJANGO_SETTINGS_MODULE set before it is made; or call its set_default()."
    )
    return [Warning(problem, hint=hint, id="celery_mailproxy.W001")]


def check_servers(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W002 to W006: what is needed to submit a mail is missing, or a token is sent in the clear."""
    settings = _readable_settings()
    if settings is None:
        return []
    if settings.url is None and not settings.servers:
        hint = "Set it to the proxy's base URL, e.g. 'http://mail-proxy:8000': the workers submit the emails there."
        return [Warning("MAIL_PROXY_URL is not set.", hint=hint, id="celery_mailproxy.W002")]
    return [message for name in settings.server_names() for message in _server_messages(settings.server(name))]


def check_mailers(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E004: OPTIONS of our backend in MAILERS are refused."""
    handler = getattr(mail, "mailers", None)
    if handler is None or not hasattr(django_settings, "MAILERS"):
        return []
    messages: list[CheckMessage] = []
    for mailer in configured_mailers():
        if mailer.is_a(OURS):
            try:
                handler[mailer.alias]
            except ImproperlyConfigured as exc:
                hint = "OPTIONS may be tenant_id, account_id, server, priority and the like: see the reference."
                messages.append(Error(str(exc), hint=hint, id="celery_mailproxy.E004"))
    return messages


def check_urls(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E002, W007 and W008: delivery reports are not received, or anybody may send them."""
    settings = _readable_settings()
    if settings is None:
        return []
    is_mounted = sync_path() is not None
    messages: list[CheckMessage] = []
    if not is_mounted:
        problem = "No URL leads to the views that take delivery reports."
        hint = f"{_URLS_HINT}; if a worker takes them (--mailproxy-listen), silence this check."
        messages.append(Warning(problem, hint=hint, id="celery_mailproxy.W007"))
    if settings.sync_auth == "none":
        hint = "Set MAIL_PROXY_SYNC_TOKEN in its place, unless nobody but the proxy can reach the URL."
        problem = "MAIL_PROXY_SYNC_AUTH is 'none': anybody may post delivery reports."
        messages.append(Warning(problem, hint=hint, id="celery_mailproxy.W008"))
    elif isinstance(settings.sync_token, Unset) and is_mounted:
        problem = "MAIL_PROXY_SYNC_TOKEN is not set: every delivery report is refused."
        hint = "Set it to a long random text; manage.py mailproxy_setup gives it to the proxy."
        messages.append(Error(problem, hint=hint, id="celery_mailproxy.E002"))
    return messages


def check_storage(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W013: large mails are kept where uploads are, which web servers publish."""
    settings = _readable_settings()
    stores = getattr(django_settings, "STORAGES", {})
    if settings is None or not settings.attachment_inline_bytes or content.STORAGE_ALIAS in stores:
        return []
    if not isinstance(storages["default"], FileSystemStorage):
        return []
    where = "MEDIA_ROOT" if django_settings.MEDIA_ROOT else "each process's current folder, for MEDIA_ROOT is not set"
    problem = f"Emails of more than MAIL_PROXY_ATTACHMENT_INLINE_BYTES are kept among uploads: in {where}."
    hint = (
        f"Give STORAGES an alias {content.STORAGE_ALIAS!r}, in a folder that web processes and workers share and no "
        "web server publishes; or set MAIL_PROXY_ATTACHMENT_INLINE_BYTES to 0: then the broker carries whole emails."
    )
    return [Warning(problem, hint=hint, id="celery_mailproxy.W013")]


def _readable_settings() -> Settings | None:
    """The settings, or None where E001 says what is wrong with them."""
    try:
        return load_settings(current_app)
    except ConfigurationError:
        return None


def _app_of_threads() -> Celery:
    """The app in a thread that nobody has made one current in, such as a web server's."""
    found: list[Celery] = []
    thread = threading.Thread(target=lambda: found.append(current_app._get_current_object()))
    thread.start()
    thread.join()
    return found[0]


def _server_messages(server: ServerSettings) -> Iterator[CheckMessage]:
    wanted: Sequence[tuple[str, str, str]] = (
        ("token", "W003", "Set it to the proxy's API token (its GMP_API_TOKEN), or to the tenant's own."),
        (
            "tenant",
            "W004",
            "Set it to your tenant's id, unless each email names its own: proxies from 0.7 on need one.",
        ),
        ("account", "W005", "Set it to the id of the tenant's SMTP account, unless each email names its own."),
    )
    for key, number, hint in wanted:
        if getattr(server, key) is None:
            yield Warning(f"{_shown(server, key)} is not set.", hint=hint, id=f"celery_mailproxy.{number}")
    parts = urlsplit(server.url)
    if parts.scheme == "http" and _is_foreign(parts.hostname or ""):
        problem = f"{_shown(server, 'url')} is plain http to {parts.hostname}: token and emails are sent in the clear."
        hint = "Use https, or reach the proxy inside a network of your own."
        yield Warning(problem, hint=hint, id="celery_mailproxy.W006")


def _shown(server: ServerSettings, key: str) -> str:
    if server.name == DEFAULT_SERVER:
        return f"MAIL_PROXY_{key.upper()}"
    return f"MAIL_PROXY_SERVERS[{server.name!r}][{key!r}]"


def _is_foreign(host: str) -> bool:
    """Whether a host may lie beyond a network of one's own, as far as its name tells."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." in host.rstrip(".") and not host.rstrip(".").lower().endswith(
            tuple(f".{domain}" for domain in _INNER_DOMAINS)
        )
    return address.is_global
