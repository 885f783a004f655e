"""Settings: sources, their order, and errors that name the key, the value and the remedy."""

from __future__ import annotations

import sys
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.conf.settings import _KUBERNETES, UNSET, Settings, load_settings, unknown_variables
from celery_mailproxy.errors import ConfigurationError


def app_with(**conf: object) -> Celery:
    app = Celery("test", set_as_current=False)
    app.conf.update({f"mail_proxy_{key}": value for key, value in conf.items()})
    return app


def read(*, environ: dict[str, str] | None = None, **conf: Any) -> Settings:
    return load_settings(app_with(**conf), environ=environ or {})


def use_django(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    module = SimpleNamespace(settings=SimpleNamespace(configured=True, **settings))
    monkeypatch.setitem(sys.modules, "django.conf", module)


def test_the_app_wins_over_django_and_django_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {f"MAIL_PROXY_{name}": f"{name.lower()}-env" for name in ("TOKEN", "ACCOUNT", "TENANT")}
    use_django(monkeypatch, MAIL_PROXY_TOKEN="token-django", MAIL_PROXY_ACCOUNT="account-django")
    settings = read(token="token-app", environ=environ)
    assert (settings.token, settings.account, settings.tenant) == ("token-app", "account-django", "tenant-env")


def test_djangos_celery_namespace_reaches_the_settings() -> None:
    app = Celery("test", set_as_current=False)
    app.config_from_object(SimpleNamespace(CELERY_MAIL_PROXY_URL="http://proxy:8000/"), namespace="CELERY")
    assert load_settings(app, environ={}).server().url == "http://proxy:8000"


@pytest.mark.parametrize("written", ["mail_proxy_tokne", "CELERY_MAIL_PROXY_TOKNE", "MAIL_PROXY_TOKNE"])
def test_an_unknown_key_is_refused_with_the_nearest_right_one(written: str) -> None:
    app = Celery("test", set_as_current=False)
    app.conf.update({written: "x"})
    with pytest.raises(ConfigurationError, match=rf"unknown setting {written}. Did you mean mail_proxy_token\?"):
        load_settings(app, environ={})


def test_an_unknown_django_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    use_django(monkeypatch, MAIL_PROXY_ULR="http://x")
    with pytest.raises(ConfigurationError, match=r"MAIL_PROXY_ULR. Did you mean mail_proxy_url\?"):
        read()


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_called_empty(value: str) -> None:
    with pytest.raises(
        ConfigurationError, match="MAIL_PROXY_ACCOUNT must be a non-empty text, and it is empty"
    ) as caught:
        read(environ={"MAIL_PROXY_ACCOUNT": value})
    assert "type str" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="MAIL_PROXY_TOKEN must be a non-empty text, and it is empty"):
        read(environ={"MAIL_PROXY_TOKEN": value})


def test_variables_that_are_no_settings_are_found_with_the_nearest_right_one() -> None:
    environ = dict.fromkeys(
        ("MAIL_PROXY_TOKNE", "MAIL_PROXY_COLOUR", "MAIL_PROXY_TOKEN", "CELERY_MAILPROXY_CACHE"), "x"
    )
    assert unknown_variables(environ) == {"MAIL_PROXY_COLOUR": None, "MAIL_PROXY_TOKNE": "MAIL_PROXY_TOKEN"}
    # Read elsewhere, or written by Kubernetes for services called mail-proxy and mail-proxy-web.
    others = (
        "LISTEN",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_8000_TCP",
        "PORT_8000_TCP_ADDR",
    )
    assert unknown_variables(dict.fromkeys([f"MAIL_PROXY_{name}" for name in others], "x")) == {}
    assert (
        unknown_variables({"MAIL_PROXY_WEB_PORT_80_TCP_PROTO": "tcp", "MAIL_PROXY_WEB_SERVICE_HOST": "10.0.0.1"}) == {}
    )


def test_no_setting_looks_like_a_variable_of_kubernetes() -> None:
    """Its misspelling would not be found."""
    names = [f"MAIL_PROXY_{field.name}".upper() for field in fields(Settings)]
    assert [name for name in names if _KUBERNETES.search(name)] == []


def test_variables_that_kubernetes_writes_are_passed_over() -> None:
    assert read(environ={"MAIL_PROXY_SERVICE_HOST": "10.0.0.1", "MAIL_PROXY_PORT": "tcp://10.0.0.1:80"}).url is None


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("url", "mail-proxy:8000", "mail_proxy_url must be a URL like .* got 'mail-proxy:8000'"),
        ("url", "http://proxy:port", "mail_proxy_url must be a URL"),
        ("url", "http://proxy/?a=1", "without '\\?'"),
        ("url", 8000, "mail_proxy_url must be a URL .* type int"),
        (
            "api",
            "rest",
            "mail_proxy_api must be one of 'auto', 'commands', 'commands-0.5', 'commands-0.6', 'entities', 'v1', "
            "got 'rest'",
        ),
        ("chunk_size", 0, "mail_proxy_chunk_size must be from 1 to 1000, got 0"),
        ("chunk_size", 1001, "from 1 to 1000"),
        ("chunk_size", "many", "mail_proxy_chunk_size must be a whole number, got 'many'"),
        ("chunk_size", True, "whole number, got True"),
        ("max_retries", 1.5, "whole number, got 1.5"),
        ("timeout_seconds", -1, "greater than 0, got -1"),
        ("timeout_seconds", float("nan"), "must be a number"),
        ("park_seconds", -0.1, "0 or more"),
        ("outbox", "perhaps", "mail_proxy_outbox must be True or False, got 'perhaps'"),
        ("outbox_seconds", 0, "mail_proxy_outbox_seconds must be greater than 0, got 0"),
        ("maintenance_seconds", -1, "mail_proxy_maintenance_seconds must be 0 or more, got -1"),
        ("events", "perhaps", "mail_proxy_events must be True or False, got 'perhaps'"),
        ("dispatch", "thread", "'worker', 'inline', got 'thread'"),
        ("report_path", "sync", "must be a path that starts with '/', got 'sync'"),
        ("next_sync_after", "nowhere.to_be:found", "cannot be imported"),
        ("next_sync_after", 5, "must be a callable"),
        ("trust_env", "perhaps", "mail_proxy_trust_env must be True or False"),
        ("client_cert", 5, "mail_proxy_client_cert must be the path of a certificate .* got 5"),
        ("client_cert", [], "mail_proxy_client_cert must be the path"),
        ("client_cert", ["a", "b", "c"], "a list of two paths"),
        ("client_cert", ["a", ""], "a list of two paths"),
        (
            "servers",
            {"a": {"url": "http://x", "client_cert": 5}},
            r"mail_proxy_servers\['a'\]\['client_cert'\] must be",
        ),
        ("servers", ["x"], "mail_proxy_servers must be a dict"),
        ("servers", {"a": {"url": "http://x", "tokn": "s"}}, "unknown key 'tokn' .* Did you mean token"),
        ("servers", {"a": {"token": "s"}}, r"mail_proxy_servers\['a'\] has no url"),
        ("servers", {"a": {"url": "ftp://x"}}, r"mail_proxy_servers\['a'\]\['url'\] must be a URL"),
        ("sync_token", [], "non-empty text or a list"),
        ("sync_token", "", "mail_proxy_sync_auth to 'none'"),
        ("sync_token", " ", "mail_proxy_sync_auth to 'none'"),
        ("sync_token", None, "mail_proxy_sync_auth to 'none'"),
        ("sync_token", {"shop": None}, "non-empty text or a list"),
        ("sync_auth", "None", "'token', 'none'"),
        ("sync_auth", "", "'token', 'none'"),
        ("sync_token", {}, "at least one tenant"),
    ],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        read(**{key: value})


@pytest.mark.parametrize(
    "conf",
    [
        {"url": "http://user:hunter2@proxy"},
        {"sync_token": ["hunter2", 5]},
        {"servers": {"a": {"url": "http://x", "token": ["hunter2"]}}},
        {"token": ["hunter2"]},
        # These cannot travel in a header, whose error would quote them.
        {"token": "hunter2\nX-Evil: 1"},
        {"token": "hunter2 ü"},
    ],
)
def test_an_error_shows_no_secret(conf: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**conf)
    assert "hunter2" not in str(caught.value)


def test_reprs_show_no_secret() -> None:
    settings = read(
        url="http://x",
        token="hunter2",
        sync_token="hunter2",
        store="redis://:hunter2@localhost/0",
        servers={"b": {"url": "http://y", "token": "hunter2"}},
    )
    assert "hunter2" not in repr(settings) + repr(settings.server()) + repr(settings.server("b"))


def test_celery_hides_the_tokens_when_it_shows_its_configuration() -> None:
    app = app_with(token="hunter2", sync_token="hunter2", servers={"b": {"url": "http://y", "token": "hunter2"}})
    assert "hunter2" not in app.conf.humanize() + repr(app.conf.table())


def test_a_missing_url_says_how_to_set_it() -> None:
    with pytest.raises(ConfigurationError, match=r"mail_proxy_url is not set. Set app.conf.mail_proxy_url"):
        read().server()


def test_an_unknown_server_names_the_known_ones() -> None:
    settings = read(url="http://x", servers={"marketing": {"url": "http://y"}})
    assert settings.server_names() == ("default", "marketing")
    with pytest.raises(ConfigurationError, match=r"one of default, marketing, got 'marketin' Did you mean marketing"):
        settings.server("marketin")


def test_a_named_server_inherits_account_but_never_a_token() -> None:
    settings = read(url="http://x", token="t", account="acc", servers={"b": {"url": "http://y"}})
    assert (settings.server("b").account, settings.server("b").token) == ("acc", None)


def test_a_named_server_has_files_of_its_own_or_those_of_all() -> None:
    own = {"url": "http://z", "client_cert": ["c.pem", "k.pem"], "trust_env": True}
    settings = read(url="http://x", client_cert="both.pem", servers={"b": {"url": "http://y"}, "c": own})
    seen = [(server.client_cert, server.trust_env) for server in map(settings.server, ("default", "b", "c"))]
    assert seen == [(("both.pem",), False), (("both.pem",), False), (("c.pem", "k.pem"), True)]
    assert read(environ={"MAIL_PROXY_CLIENT_CERT": '["c.pem", "k.pem"]'}).client_cert == ("c.pem", "k.pem")
    assert read(environ={"MAIL_PROXY_TRUST_ENV": "true"}).trust_env


def test_the_environment_is_not_trusted_unless_it_is_said() -> None:
    assert not read(url="http://x").server().trust_env


def test_only_the_default_server_may_have_no_url() -> None:
    assert not read().has_url("default")
    assert read(url="http://x").has_url("default")
    assert read(servers={"b": {"url": "http://y"}}).has_url("b")


@pytest.mark.parametrize("empty", [{}, {"sync_token": None}, {"sync_token": ""}], ids=str)
def test_authentication_is_switched_off_by_a_word_of_its_own(empty: dict[str, Any]) -> None:
    settings = read(sync_auth="none", **empty)
    assert (settings.sync_auth, settings.sync_token) == ("none", UNSET)


def test_a_token_beside_the_word_for_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be left out while mail_proxy_sync_auth is 'none'") as caught:
        read(sync_auth="none", sync_token="hunter2")
    assert "hunter2" not in str(caught.value)


def test_an_empty_variable_of_the_environment_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^MAIL_PROXY_SYNC_TOKEN must be a token, and it is empty"):
        read(environ={"MAIL_PROXY_SYNC_TOKEN": ""})


def test_sync_tokens_come_in_every_form() -> None:
    assert read().sync_token is UNSET
    assert read(sync_token="a").sync_token == {None: ("a",)}
    assert read(sync_token=["new", "old"]).sync_token == {None: ("new", "old")}
    assert read(sync_token={"t1": "a", "t2": ["b", "c"]}).sync_token == {"t1": ("a",), "t2": ("b", "c")}


def test_the_environment_takes_json_for_lists_and_dicts_and_text_for_numbers() -> None:
    settings = read(
        environ={
            "MAIL_PROXY_SYNC_TOKEN": '["new", "old"]',
            "MAIL_PROXY_SERVERS": '{"b": {"url": "http://y"}}',
            "MAIL_PROXY_CHUNK_SIZE": "50",
            "MAIL_PROXY_EVENTS": "no",
            "MAIL_PROXY_TIMEOUT_SECONDS": "2.5",
        }
    )
    assert settings.sync_token == {None: ("new", "old")}
    assert settings.server("b").url == "http://y"
    assert (settings.chunk_size, settings.events, settings.timeout_seconds) == (50, False, 2.5)


def test_none_unsets_what_a_lower_source_sets() -> None:
    assert read(account=None, environ={"MAIL_PROXY_ACCOUNT": "x"}).account is None


def test_every_setting_has_a_reader() -> None:
    assert all(callable(item.metadata["read"]) for item in fields(Settings))


def test_the_outbox_is_on_off_or_left_to_whoever_sends() -> None:
    assert read().outbox is UNSET
    assert [read(outbox=value).outbox for value in (True, "no", None)] == [True, False, UNSET]
    assert read(environ={"MAIL_PROXY_OUTBOX": "true"}).outbox is True


def test_the_maintenance_can_be_switched_off() -> None:
    assert (read().maintenance_seconds, read(maintenance_seconds=0).maintenance_seconds) == (10.0, 0.0)
