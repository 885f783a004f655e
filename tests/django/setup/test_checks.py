"""The system checks: each speaks up, and is silent in a good project."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import pytest
from celery import Celery
from django.conf import global_settings
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, run_checks
from django.core.management import call_command
from django.test import override_settings
from django.urls import include, path

from celery_mailproxy.django.backend.mailers import Mailer
from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.checks import TAG
from celery_mailproxy.django.setup import mounting
from tests.django.harness.default_app import default_app

OURS = "celery_mailproxy.django.backends.EmailBackend"
MIGRATION = "celery_mailproxy.django.backends.MigrationEmailBackend"
LEGACY = "djcelery_email.backends.CeleryEmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"

MEMORY = "django.core.files.storage.InMemoryStorage"

HAS_MAILERS = django.VERSION >= (6, 1)


GOOD = {
    "mail_proxy_url": "http://mail-proxy:8000",
    "mail_proxy_token": "api-token-7f3a",
    "mail_proxy_tenant": "shop",
    "mail_proxy_account": "main",
}


@pytest.fixture(autouse=True)
def app() -> Iterator[Celery]:
    """A good project's Celery app: no check has anything to say."""
    stores = {**global_settings.STORAGES, "mail_proxy": {"BACKEND": MEMORY}}
    with default_app(**GOOD, mail_proxy_sync_token="sync-token-91bc") as app, override_settings(STORAGES=stores):
        yield app


@pytest.fixture
def mailer() -> Iterator[Any]:
    """Make this the project's e-mail backend, in the way of its Django."""
    with ExitStack() as stack:

        def choose(backend: str, **options: Any) -> None:
            mailers = {"default": {"BACKEND": backend, "OPTIONS": options}}
            if backend == MIGRATION:
                # What sent the mails before.
                mailers["smtp"] = {"BACKEND": SMTP, "OPTIONS": {"host": "localhost"}}
            chosen = {"MAILERS": mailers} if HAS_MAILERS else {"EMAIL_BACKEND": backend}
            stack.enter_context(override_settings(**chosen))

        yield choose


class TheirBackend(EmailBackend):
    """A project's own, made of ours."""


def found() -> dict[str, CheckMessage]:
    """The messages by the last part of their ids; each has something to do in its hint."""
    messages = run_checks(tags=[TAG])
    assert all(message.hint for message in messages)
    named = [(str(message.id), message) for message in messages]
    assert all(isinstance(message, Error) == name.startswith("celery_mailproxy.E") for name, message in named)
    return {name.removeprefix("celery_mailproxy."): message for name, message in named}


def urlconf(*patterns: Any) -> ModuleType:
    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = list(patterns)
    return urls


def test_a_good_project_passes(mailer: Any) -> None:
    mailer(OURS)
    assert found() == {}


def test_manage_py_runs_the_checks(app: Celery, capsys: pytest.CaptureFixture[str]) -> None:
    app.conf.mail_proxy_token = None
    call_command("check", tags=[TAG])
    assert "celery_mailproxy.W003" in capsys.readouterr().err


# Our own settings


def test_a_wrong_setting_is_told_once_and_by_its_name(app: Celery) -> None:
    app.conf.mail_proxy_chunk_size = "many"
    messages = found()
    assert list(messages) == ["E001"]
    assert "mail_proxy_chunk_size must be a whole number, got 'many'" in messages["E001"].msg


def test_a_setting_of_djangos_that_is_mistyped_is_told() -> None:
    with override_settings(MAIL_PROXY_TOKN="x"):
        assert "Did you mean mail_proxy_token?" in found()["E001"].msg


def test_a_token_that_two_tenants_share_is_told_without_the_token(app: Celery) -> None:
    app.conf.mail_proxy_sync_token = {"shop": "shared-secret", "club": "shared-secret"}
    message = found()["E001"].msg
    assert "tell tenants apart" in message
    assert "shared-secret" not in message


def test_a_wrong_setting_of_django_celery_email_is_told() -> None:
    with override_settings(CELERY_EMAIL_CHUNK_SIZE=0):
        assert "CELERY_EMAIL_CHUNK_SIZE" in found()["E001"].msg


def test_a_project_without_a_celery_app_is_told() -> None:
    from celery import _state

    _state.set_default_app(None)
    assert "W001" in found()


def test_a_missing_url_is_told(app: Celery) -> None:
    app.conf.mail_proxy_url = None
    assert list(found()) == ["W002"]


@pytest.mark.parametrize(("key", "number"), [("token", "W003"), ("tenant", "W004"), ("account", "W005")])
def test_what_a_mail_needs_and_has_not_is_told(app: Celery, key: str, number: str) -> None:
    app.conf[f"mail_proxy_{key}"] = None
    messages = found()
    assert list(messages) == [number]
    assert messages[number].msg == f"MAIL_PROXY_{key.upper()} is not set."


def test_what_a_further_server_lacks_is_told_with_its_name(app: Celery) -> None:
    app.conf.mail_proxy_servers = {"bulk": {"url": "https://bulk.example.com"}}
    assert found()["W003"].msg == "MAIL_PROXY_SERVERS['bulk']['token'] is not set."


@pytest.mark.parametrize(
    "url",
    ["http://mail.example.com", "http://93.184.216.34:8000", "http://[2606:2800:220:1::1]", "http://mail.example.com."],
)
def test_plain_http_to_a_foreign_host_is_told(app: Celery, url: str) -> None:
    app.conf.mail_proxy_url = url
    assert list(found()) == ["W006"]


@pytest.mark.parametrize(
    "url",
    [
        "https://mail.example.com",
        "http://localhost:8000",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://10.1.2.3",
        "http://[fd00::7]",
        "http://mail-proxy:8000",
        "http://mail-proxy.default.svc.cluster.local:8000",
        "http://proxy.internal",
    ],
)
def test_plain_http_inside_ones_own_network_is_fine(app: Celery, url: str) -> None:
    app.conf.mail_proxy_url = url
    assert found() == {}


# The receiver


def test_urls_that_are_not_included_are_told_and_the_workers_listener_is_named() -> None:
    with override_settings(ROOT_URLCONF=urlconf()):
        messages = found()
        assert mounting.sync_path() is None
    assert list(messages) == ["W007"]
    assert "--mailproxy-listen" in str(messages["W007"].hint)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (path("hooks/", include("celery_mailproxy.django.urls")), "/hooks/sync"),
        (path("a/", include([path("b/", include("celery_mailproxy.django.urls"))])), "/a/b/sync"),
        (path("a/", include(([path("b/", include("celery_mailproxy.django.urls"))], "api"))), "/a/b/sync"),
        (path("x/", include("celery_mailproxy.django.urls", namespace="mails")), "/x/sync"),
    ],
)
def test_urls_are_found_wherever_they_are_included(pattern: Any, expected: str) -> None:
    with override_settings(ROOT_URLCONF=urlconf(pattern)):
        assert found() == {}
        assert mounting.sync_path() == expected
        assert mounting.attachments_path() == expected.replace("sync", "attachments")


def test_urls_below_a_parameter_have_no_single_path() -> None:
    with override_settings(ROOT_URLCONF=urlconf(path("<slug:x>/", include("celery_mailproxy.django.urls")))):
        assert list(found()) == ["W007"]


def test_a_project_without_urls_has_no_path() -> None:
    with override_settings(ROOT_URLCONF=None):
        assert list(found()) == ["W007"]


def test_a_receiver_without_a_token_is_an_error() -> None:
    with default_app(**GOOD):
        assert list(found()) == ["E002"]


def test_a_worker_that_listens_has_its_own_error_for_that() -> None:
    with default_app(**GOOD), override_settings(ROOT_URLCONF=urlconf()):
        assert list(found()) == ["W007"]


def test_a_receiver_that_takes_reports_from_anybody_is_told(app: Celery) -> None:
    app.conf.mail_proxy_sync_token = None
    app.conf.mail_proxy_sync_auth = "none"
    assert list(found()) == ["W008"]


def test_an_empty_token_is_told_with_the_word_for_none(app: Celery) -> None:
    app.conf.mail_proxy_sync_token = None
    messages = found()
    assert list(messages) == ["E001"]
    assert "set mail_proxy_sync_auth to 'none'" in messages["E001"].msg


# Mailers


@pytest.mark.parametrize(
    ("backend", "wrapped", "expected"),
    [
        (OURS, OURS, "E003"),
        (OURS, LEGACY, "E003"),
        (LEGACY, LEGACY, "E003"),
        (LEGACY, OURS, "W009"),
    ],
)
def test_a_backend_that_leads_back_to_celery_is_told(mailer: Any, backend: str, wrapped: str, expected: str) -> None:
    mailer(backend)
    with override_settings(CELERY_EMAIL_BACKEND=wrapped):
        assert list(found()) == [expected]


@pytest.mark.parametrize(("backend", "wrapped"), [(MIGRATION, SMTP), (LEGACY, SMTP), (SMTP, LEGACY)])
def test_a_backend_that_ends_in_smtp_is_fine(mailer: Any, backend: str, wrapped: str) -> None:
    mailer(backend)
    with override_settings(CELERY_EMAIL_BACKEND=wrapped):
        assert found() == {}


def test_a_backend_made_of_ours_counts_as_ours(mailer: Any) -> None:
    mailer(f"{__name__}.TheirBackend")
    with override_settings(CELERY_EMAIL_BACKEND=f"{__name__}.TheirBackend"):
        assert list(found()) == ["E003"]


def test_a_backend_that_cannot_be_imported_is_nobodys() -> None:
    assert not Mailer(alias="default", backend="nowhere.Backend").is_a("celery_mailproxy.")
    assert not Mailer(alias="default", backend="no dots").is_a("celery_mailproxy.")


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")
@pytest.mark.parametrize(
    ("using", "is_loop"), [({"a": "b", "b": "a"}, True), ({"a": "b", "b": "c"}, False), ({"c": "a", "a": "a"}, True)]
)
def test_mailers_that_use_each_other_are_told_once(using: dict[str, str], is_loop: bool) -> None:
    mailers = {alias: {"BACKEND": LEGACY, "OPTIONS": {"using": following}} for alias, following in using.items()}
    mailers |= {"default": {"BACKEND": OURS}, "c": mailers.get("c", {"BACKEND": SMTP})}
    with override_settings(MAILERS=mailers):
        messages = run_checks(tags=[TAG])
    assert [message.id for message in messages] == (["celery_mailproxy.E003"] if is_loop else [])


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")
def test_options_that_our_backend_refuses_are_told(mailer: Any) -> None:
    mailer(OURS, tennant_id="shop")
    messages = found()
    assert list(messages) == ["E004"]
    assert "tennant_id" in messages["E004"].msg


# What is left of django-celery-email


@pytest.mark.parametrize(
    "name", ["CELERY_EMAIL_BACKEND", "CELERY_EMAIL_MESSAGE_CLASS", "CELERY_EMAIL_MULTI_ALTERNATIVES_CLASS"]
)
def test_a_setting_that_has_lost_its_meaning_is_told(mailer: Any, name: str) -> None:
    mailer(OURS)
    with override_settings(INSTALLED_APPS=without_drain(), **{name: SMTP}):
        messages = found()
    assert list(messages) == ["W011"]
    assert messages["W011"].msg.startswith(name)


def test_classes_of_messages_are_the_drains(mailer: Any) -> None:
    mailer(OURS)
    with override_settings(CELERY_EMAIL_MESSAGE_CLASS="x.Message", CELERY_EMAIL_MULTI_ALTERNATIVES_CLASS="x.Message"):
        assert found() == {}


def without_drain() -> list[str]:
    """The project's applications, but for that one."""
    return [name for name in django_settings.INSTALLED_APPS if name != "celery_mailproxy.django.drain"]


def test_settings_that_are_honoured_are_fine(mailer: Any) -> None:
    mailer(OURS)
    config = {"queue": "mails", "rate_limit": "50/m", "name": "old_name", "ignore_result": False}
    with override_settings(
        CELERY_EMAIL_TASK_CONFIG=config, CELERY_EMAIL_CHUNK_SIZE=5, CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES=["priority"]
    ):
        assert found() == {}


def test_a_task_option_that_has_lost_its_meaning_is_told(mailer: Any) -> None:
    mailer(OURS)
    with override_settings(CELERY_EMAIL_TASK_CONFIG={"base": "shop.tasks.Base", "queue": "mails"}):
        messages = found()
    assert list(messages) == ["W012"]
    assert "base has no meaning" in messages["W012"].msg


def test_settings_of_a_package_that_still_sends_are_its_own(mailer: Any) -> None:
    mailer(LEGACY)
    with override_settings(CELERY_EMAIL_MESSAGE_CLASS="x.Message", CELERY_EMAIL_TASK_CONFIG={"base": "x"}):
        assert found() == {}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`djcelery_email`, as an application without anything in it."""
    module = ModuleType("djcelery_email")
    module.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "djcelery_email", module)


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (["djcelery_email", "celery_mailproxy.django.drain"], ["W010"]),
        (["djcelery_email"], []),
        (["celery_mailproxy.django.drain"], []),
    ],
)
def test_two_packages_that_register_one_task_are_told(installed: list[str], expected: list[str]) -> None:
    with override_settings(INSTALLED_APPS=[*without_drain(), *installed]):
        assert list(found()) == expected


@pytest.mark.parametrize(
    ("root", "where"), [("/srv/shop/media", "in MEDIA_ROOT."), ("", "current folder, for MEDIA_ROOT is not set.")]
)
def test_large_mails_among_uploads_are_told(root: str, where: str) -> None:
    with override_settings(STORAGES=global_settings.STORAGES, MEDIA_ROOT=root):
        messages = found()
    assert list(messages) == ["W013"]
    assert where in messages["W013"].msg


@pytest.mark.parametrize("change", [{"STORAGES": {"default": {"BACKEND": MEMORY}}}, {}])
def test_large_mails_elsewhere_or_on_the_broker_are_fine(app: Celery, change: dict[str, Any]) -> None:
    app.conf.mail_proxy_attachment_inline_bytes = 1000 if change else 0
    with override_settings(**{"STORAGES": global_settings.STORAGES, **change}):
        assert not found()


@pytest.mark.parametrize("legacy", ["no.such.Backend", LEGACY, OURS])
def test_a_legacy_way_that_cannot_send_is_told(app: Celery, mailer: Any, legacy: str) -> None:
    mailer(MIGRATION)
    app.conf.mail_proxy_migration = {"legacy": legacy}
    messages = found()
    assert list(messages) == ["E005"]
    assert "MAIL_PROXY_MIGRATION['legacy']" in messages["E005"].msg
