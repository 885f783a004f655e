"""Django's debug page, and its mails to the admins, hold none of our secrets."""

from __future__ import annotations

import secrets
import sys
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.test import override_settings
from django.views.debug import ExceptionReporter

# Not written here: the page shows the lines around an error.
SECRET = secrets.token_hex()
STORE = f"redis://:{SECRET}@redis:6379/0"


def reports() -> list[str]:
    """What Django shows of an error: as a page, and as the text of a mail."""
    try:
        raise LookupError("a view that fails")
    except LookupError:
        reporter = ExceptionReporter(None, *sys.exc_info())
    return [reporter.get_traceback_html(), reporter.get_traceback_text()]


@pytest.mark.parametrize(
    "secretive",
    [
        {"MAIL_PROXY_STORE": STORE},
        {"CELERY_MAIL_PROXY_STORE": STORE},
        {"MAIL_PROXY_TOKEN": SECRET},
        {"MAIL_PROXY_SYNC_TOKEN": {"shop": SECRET, "club": [SECRET]}},
        {"CELERY_MAIL_PROXY_SYNC_TOKEN": {"shop": SECRET}},
        {"MAIL_PROXY_SERVERS": {"b": {"url": "http://b", "token": SECRET}}},
    ],
    ids=lambda secretive: next(iter(secretive)),
)
def test_an_error_shows_no_secret_of_the_settings(secretive: dict[str, Any]) -> None:
    with override_settings(**secretive):
        apps.get_app_config("celery_mailproxy").ready()
        for text in reports():
            assert next(iter(secretive)) in text
            assert SECRET not in text


def test_the_setting_is_what_it_was() -> None:
    with override_settings(MAIL_PROXY_STORE=STORE):
        apps.get_app_config("celery_mailproxy").ready()
        conf: Any = settings
        assert conf.MAIL_PROXY_STORE == STORE
        assert f"{conf.MAIL_PROXY_STORE}" == STORE
