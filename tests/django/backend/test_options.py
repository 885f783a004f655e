"""Options of the backend and keys of CELERY_EMAIL_TASK_CONFIG that make no sense, told before a mail is sent."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import django
import pytest
from celery import Celery
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import get_connection

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


@pytest.mark.parametrize("backend", ["EmailBackend", "MigrationEmailBackend"])
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"host": "smtp.customer.example"}, "host: an account at the proxy .* account_id"),
        (
            {"host": "smtp.customer.example", "port": 587, "use_tls": True},
            "host, port, use_tls: an account at the proxy",
        ),
        ({"username": "u", "password": "p", "use_ssl": False}, "use_ssl: an account at the proxy"),
        ({"host": "smtp.customer.example", "nonsense": 1}, "host: an account"),
        ({"nonsense": 1}, "nonsense: is not an option of this backend; known are account_id, "),
        ({"tenant": "t"}, r"tenant: is not an option of this backend; did you mean tenant_id\?"),
        ({"alias": "bulk", "nonsense": 1}, "nonsense|Unknown options"),
    ],
)
def test_what_nobody_would_follow_is_refused(backend: str, options: dict[str, Any], problem: str) -> None:
    # Django 6.1 deprecates it; applications call it all the same.
    warnings.simplefilter("ignore")
    with pytest.raises(ImproperlyConfigured, match=problem):
        get_connection(f"celery_mailproxy.django.backends.{backend}", **options)


def test_a_refusal_is_raised_though_mails_fail_silently() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"smtp\.EmailBackend"):
        EmailBackend(fail_silently=True, host="smtp.customer.example")


@pytest.mark.parametrize(
    "options", [{"username": "u", "password": "p"}, {"host": None, "port": None, "use_tls": None, "nonsense": None}]
)
def test_a_login_and_what_is_not_given_are_passed_over(options: dict[str, Any]) -> None:
    """Django's own `send_mail` passes a login on, and wrappers of it what they were not given."""
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
