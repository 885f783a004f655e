"""What Celery and Django show of a configuration holds none of our secrets."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app import utils as celery_utils
from celery.utils.serialization import jsonify

from celery_mailproxy.conf.hiding import HiddenText, hide_secrets
from celery_mailproxy.conf.settings import load_settings

SECRET = "hunter2"

#: Every shape in which a setting of ours may hold a secret, also those that are refused later.
SECRETIVE: list[dict[str, Any]] = [
    {"mail_proxy_token": SECRET},
    {"mail_proxy_sync_token": SECRET},
    {"mail_proxy_sync_token": [SECRET, "old-hunter2"]},
    {"mail_proxy_sync_token": {"shop": SECRET, "club": ["new-hunter2", "old-hunter2"]}},
    {"mail_proxy_store": f"redis://:{SECRET}@redis:6379/0"},
    {"mail_proxy_store": f"rediss://user:{SECRET}/with@slash@redis:6379/0"},
    {"mail_proxy_store": f"sentinel://one,two/master?sentinel_password={SECRET}"},
    {"mail_proxy_store": f"redis://{SECRET}@redis"},
    {"mail_proxy_servers": {"b": {"url": "http://b", "token": SECRET}}},
    {"mail_proxy_servers": {"b": {"url": f"http://user:{SECRET}@b"}}},
    {"mail_proxy_servers": [{"token": SECRET}]},
    {"mail_proxy_url": f"http://user:{SECRET}@proxy"},
]


@pytest.fixture(autouse=True)
def hiding() -> None:
    hide_secrets()


def shown(app: Celery) -> list[str]:
    """What `celery report`, and `celery inspect conf` with and without `--json`, print of the app's settings."""
    table = jsonify(app.conf.table(with_defaults=False), unknown_type_filter=repr)
    return [app.bugreport(), json.dumps(table), repr(table)]


@pytest.mark.parametrize("conf", SECRETIVE, ids=str)
def test_no_secret_is_shown(conf: dict[str, Any]) -> None:
    app = Celery("test", set_as_current=False)
    app.conf.update(conf)
    for text in shown(app):
        assert next(iter(conf)) in text
        assert SECRET not in text


@pytest.mark.parametrize("conf", SECRETIVE, ids=str)
@pytest.mark.parametrize(("prefix", "namespace"), [("CELERY_", "CELERY"), ("JOBS_", "JOBS"), ("", "CELERY")])
def test_no_secret_is_shown_in_a_namespace(conf: dict[str, Any], prefix: str, namespace: str) -> None:
    app = Celery("test", set_as_current=False)
    settings = {prefix + name.upper(): value for name, value in conf.items()}
    app.config_from_object(SimpleNamespace(**settings), namespace=namespace)
    for text in shown(app):
        assert SECRET not in text


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    app = Celery("test", set_as_current=False)
    app.conf.update(
        mail_proxy_store="sqlite:////var/lib/mails.sqlite3",
        mail_proxy_url="http://proxy:8000",
        mail_proxy_servers={"b": {"url": "http://b", "tenant": "shop"}},
        mail_proxy_chunk_size=7,
        shop_url="http://user:theirs@shop",
    )
    table = app.conf.table()
    assert table["mail_proxy_store"] == "sqlite:////var/lib/mails.sqlite3"
    assert table["mail_proxy_url"] == "http://proxy:8000"
    assert table["mail_proxy_servers"] == {"b": {"url": "http://b", "tenant": "shop"}}
    assert table["mail_proxy_chunk_size"] == 7
    # Whatever is not ours stays as Celery has it.
    assert table["shop_url"] == "http://user:theirs@shop"


def test_the_kind_of_store_is_shown() -> None:
    app = Celery("test", set_as_current=False)
    app.conf.mail_proxy_store = f"redis://:{SECRET}@redis:6379/0"
    assert app.conf.table()["mail_proxy_store"] == "redis://********"


def test_the_kind_of_bounce_mailbox_is_shown_without_its_account() -> None:
    app = Celery("test", set_as_current=False)
    app.conf.mail_proxy_bounce_mailbox = f"imaps://bounces:{SECRET}@mail.example.com/INBOX"
    assert app.conf.table()["mail_proxy_bounce_mailbox"] == "imaps://********"
    assert SECRET not in repr(load_settings(app))


def test_the_app_itself_keeps_what_was_set() -> None:
    app = Celery("test", set_as_current=False)
    app.conf.mail_proxy_sync_token = {"shop": SECRET}
    shown(app)
    assert app.conf.mail_proxy_sync_token == {"shop": SECRET}
    assert app.conf.table(censored=False)["mail_proxy_sync_token"] == {"shop": SECRET}


def test_hiding_twice_wraps_once() -> None:
    once = celery_utils.filter_hidden_settings
    hide_secrets()
    assert celery_utils.filter_hidden_settings is once


def test_a_hidden_text_shows_itself_only_to_who_uses_it() -> None:
    text = HiddenText(f"redis://:{SECRET}@redis")
    assert text == f"redis://:{SECRET}@redis"
    assert repr(text) == "'redis://********'"
    assert SECRET not in f"{[text]!r}"
