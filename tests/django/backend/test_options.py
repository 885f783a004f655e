"""Options of the backend and keys of CELERY_EMAIL_TASK_CONFIG that make no sense, told before a mail is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import django
import pytest
from celery import Celery
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from celery_mailproxy.django.backend.celery_email import CeleryEmailSettings
from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.checks import TAG
from celery_mailproxy.errors import ConfigurationError
from tests.django.harness.default_app import default_app
from tests.django.harness.publishing_app import BACKEND

WRONG_OPTIONS = [
    ("on_commit", "maybe", "on_commit: must be True or False, got 'maybe'"),
    ("on_commit", "false", "on_commit: must be True or False, got 'false'"),
    ("server", "nope", "server: must be one of default, reports, got 'nope'"),
    ("database", "nope", "database: must be one of DATABASES .default., got 'nope'"),
]


@pytest.fixture(autouse=True)
def app() -> Iterator[Celery]:
    servers = {"reports": {"url": "http://reports:8000"}}
    conf = {"mail_proxy_url": "http://proxy:8000", "mail_proxy_servers": servers, "mail_proxy_store": "memory://"}
    with default_app(**conf) as app:
        yield app


@pytest.mark.parametrize(("name", "value", "problem"), WRONG_OPTIONS)
def test_an_option_that_would_fail_with_each_mail_is_refused(name: str, value: Any, problem: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=problem):
        EmailBackend(**{name: value})


@pytest.mark.parametrize(
    "options", [{"on_commit": False}, {"on_commit": None}, {"server": "reports"}, {"database": "default"}]
)
def test_options_that_make_sense_are_taken(options: dict[str, Any]) -> None:
    EmailBackend(**options)


def test_settings_that_are_wrong_themselves_are_not_the_options_fault() -> None:
    with default_app(mail_proxy_urll="http://proxy:8000"):
        EmailBackend(server="reports")


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
@pytest.mark.parametrize(("name", "value", "problem"), WRONG_OPTIONS)
def test_a_wrong_option_is_told_by_a_check(name: str, value: Any, problem: str, settings: Any) -> None:
    settings.MAILERS = {"default": {"BACKEND": BACKEND, "OPTIONS": {name: value}}}
    messages = [message for message in run_checks(tags=[TAG]) if message.id == "celery_mailproxy.E004"]
    assert [f"{name}: must be" in message.msg for message in messages] == [True]


WRONG_CONFIG = [
    ("compression", "nope"),
    ("max_retries", "x"),
    ("max_retries", -1),
    ("max_retries", True),
    ("rate_limit", "bogus"),
    ("rate_limit", "10/x"),
    ("rate_limit", "-1/s"),
    ("rate_limit", ["1/s"]),
    ("serializer", "nope"),
    ("serializer", ["json"]),
    ("soft_time_limit", "60"),
    ("time_limit", 0),
]


@pytest.mark.parametrize(("name", "value"), WRONG_CONFIG)
def test_a_wrong_value_in_the_task_config_is_named_by_a_check(name: str, value: Any, settings: Any) -> None:
    settings.CELERY_EMAIL_TASK_CONFIG = {name: value}
    messages = [message.msg for message in run_checks(tags=[TAG]) if message.id == "celery_mailproxy.E001"]
    assert [f"CELERY_EMAIL_TASK_CONFIG[{name!r}] must be" in message for message in messages] == [True]
    with pytest.raises(ConfigurationError, match=f"CELERY_EMAIL_TASK_CONFIG.'{name}'"):
        CeleryEmailSettings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("compression", "gzip"),
        ("max_retries", None),
        ("max_retries", 0),
        ("rate_limit", "50/m"),
        ("rate_limit", 0.5),
        ("rate_limit", None),
        ("serializer", "pickle"),
        ("time_limit", 60.5),
    ],
)
def test_what_celery_takes_is_taken(name: str, value: Any, settings: Any) -> None:
    settings.CELERY_EMAIL_TASK_CONFIG = {name: value}
    CeleryEmailSettings.load()
