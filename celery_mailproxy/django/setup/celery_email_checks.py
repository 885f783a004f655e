"""System checks for what is left of django-celery-email, and for mailers that lead back to themselves.

`celery_mailproxy.django.checks` registers them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celery import current_app
from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning

from ...conf.settings import MigrationSettings, load_settings
from ...errors import ConfigurationError
from ..backend.celery_email import CeleryEmailSettings
from ..backend.mailers import Mailer, configured_mailers
from ..legacy.transport import LegacyTransport

__all__ = ["check_legacy_settings", "check_loops", "check_migration", "check_registrations"]

OURS = "celery_mailproxy.django.backends."
MIGRATION = "celery_mailproxy.django.backends.MigrationEmailBackend"
LEGACY_APP, LEGACY = "djcelery_email", "djcelery_email.backends."
DRAIN_APP = "celery_mailproxy.django.drain"

#: Settings of django-celery-email of which the drain alone makes use, and what to do without it.
_LOST: Mapping[str, str] = {
    "CELERY_EMAIL_MESSAGE_CLASS": "Remove it: the worker gets the finished email, and builds no message.",
    "CELERY_EMAIL_MULTI_ALTERNATIVES_CLASS": "Remove it: the worker gets the finished email, and builds no message.",
}


def check_loops(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E003: a mail would come back to where it was sent from. W009: it takes two tasks."""
    mailers = configured_mailers()
    messages: list[CheckMessage] = list(_loops_among(mailers))
    wrapped = getattr(django_settings, "CELERY_EMAIL_BACKEND", None)
    if not isinstance(wrapped, str):
        return messages
    inner = Mailer(alias="CELERY_EMAIL_BACKEND", backend=wrapped)
    # With MAILERS django-celery-email uses the option `using`, and ignores this setting.
    sending = [mailer for mailer in mailers if "using" not in mailer.options]
    is_ours, is_legacy = (any(mailer.is_a(prefix) for mailer in sending) for prefix in (OURS, LEGACY))
    if (is_ours and inner.is_a(OURS)) or ((is_ours or is_legacy) and inner.is_a(LEGACY)):
        problem = f"CELERY_EMAIL_BACKEND is {wrapped}, which hands an email to Celery again: it would never be sent."
        hint = "Let it name a backend that sends by itself, such as django.core.mail.backends.smtp.EmailBackend."
        messages.append(Error(problem, hint=hint, id="celery_mailproxy.E003"))
    elif is_legacy and inner.is_a(OURS):
        problem = "Each email goes through two tasks: django-celery-email's, and then ours."
        hint = f"Put {wrapped} in django-celery-email's place, as EMAIL_BACKEND or in MAILERS."
        messages.append(Warning(problem, hint=hint, id="celery_mailproxy.W009"))
    return messages


def check_migration(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E005: the legacy transport cannot send."""
    if not any(mailer.is_a(MIGRATION) for mailer in configured_mailers()):
        return []
    try:
        migration = load_settings(current_app).migration or MigrationSettings()
    except ConfigurationError:
        # E001 says so.
        return []
    try:
        LegacyTransport(migration.legacy)
    except ConfigurationError as exc:
        hint = "Let it name what sent the emails before, such as django.core.mail.backends.smtp.EmailBackend."
        return [Error(str(exc), hint=hint, id="celery_mailproxy.E005")]
    return []


def check_registrations(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W010: two applications register the same task."""
    if not (apps.is_installed(LEGACY_APP) and apps.is_installed(DRAIN_APP)):
        return []
    # Celery keeps the first registration, and goes through them in no order of ours.
    problem = (
        f"{LEGACY_APP} and {DRAIN_APP} register the same task: which of them takes its emails is left to chance, and "
        "may differ from process to process."
    )
    hint = f"Remove {LEGACY_APP} from INSTALLED_APPS once this process sends through the proxy, else {DRAIN_APP}."
    return [Warning(problem, hint=hint, id="celery_mailproxy.W010")]


def check_legacy_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W011 and W012: settings of django-celery-email that have lost their meaning."""
    mailers = configured_mailers()
    # While that package is installed, or still sends, they are its own.
    if apps.is_installed(LEGACY_APP) or not any(mailer.is_a(OURS) for mailer in mailers):
        return []
    return [*_lost_settings(mailers), *_lost_task_options()]


def _lost_settings(mailers: Sequence[Mailer]) -> Iterator[CheckMessage]:
    lost = {} if apps.is_installed(DRAIN_APP) else dict(_LOST)
    wrapped = Mailer(alias="", backend=str(getattr(django_settings, "CELERY_EMAIL_BACKEND", "")))
    # E003 reports one that leads back.
    if not (wrapped.is_a(OURS) or wrapped.is_a(LEGACY) or any(mailer.is_a(MIGRATION) for mailer in mailers)):
        lost["CELERY_EMAIL_BACKEND"] = (
            "Remove it: the proxy sends the emails, and its SMTP server is the account's (manage.py mailproxy_setup)."
        )
    for name, hint in lost.items():
        if hasattr(django_settings, name):
            yield Warning(f"{name} has no meaning any more.", hint=hint, id="celery_mailproxy.W011")


def _lost_task_options() -> Iterator[CheckMessage]:
    try:
        legacy = CeleryEmailSettings.load()
    except ConfigurationError:
        return
    # The name is that of the mails that are still on the broker.
    known = {"name", *legacy.publish_options, *legacy.task_attributes}
    lost = sorted(
        str(key) for key in getattr(django_settings, "CELERY_EMAIL_TASK_CONFIG", None) or () if key not in known
    )
    if lost:
        problem = f"In CELERY_EMAIL_TASK_CONFIG {', '.join(lost)} has no meaning any more."
        hint = "Remove it; what is true of the task celery_mailproxy.send_via_proxy itself goes into task_annotations."
        yield Warning(problem, hint=hint, id="celery_mailproxy.W012")


def _loops_among(mailers: Sequence[Mailer]) -> Iterator[CheckMessage]:
    """Mailers of MAILERS that send by each other: `using` names the next one."""
    after = {mailer.alias: mailer.options.get("using") for mailer in mailers}
    for alias in after:
        path = [alias]
        while (following := after.get(path[-1])) is not None and following not in path:
            path.append(following)
        # Each loop is reported once: by the first of its aliases.
        if following == alias and alias == min(path):
            problem = f"MAILERS lead back to themselves: {' → '.join([*path, alias])}."
            hint = "Let the last one's OPTIONS name a mailer that sends by itself in 'using'."
            yield Error(problem, hint=hint, id="celery_mailproxy.E003")
