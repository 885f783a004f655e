"""The management commands: on real proxies in both APIs, and on the log."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import django
import pytest
from celery import Celery
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings
from django.urls import include, path

from celery_mailproxy.conf.settings import load_settings
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.django.log.event_feed import EventFeed
from celery_mailproxy.django.models import EmailLogEvent
from celery_mailproxy.django.setup.smtp_account import smtp_account
from celery_mailproxy.errors import ConfigurationError
from celery_mailproxy.proxy.administration import ProxyAdministration
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import MailSink, RealProxy
from tests.django.harness.default_app import default_app
from tests.django.harness.servers import serve_wsgi
from tests.harness.proxy_tenant import ProxyTenant

SYNC_TOKEN, PASSWORD = "sync-token-91bc", "smtp-password-5d2e"
CALLBACK = "https://app.example.com"
HAS_MAILERS = django.VERSION >= (6, 1)

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def names() -> ProxyTenant:
    """Ids that no other test uses."""
    return ProxyTenant(proxy=None)  # type: ignore[arg-type]


@pytest.fixture
def app(real_proxy: RealProxy, names: ProxyTenant) -> Iterator[Celery]:
    with default_app(
        mail_proxy_url=real_proxy.url,
        mail_proxy_token=real_proxy.token,
        mail_proxy_tenant=names.id,
        mail_proxy_account=names.account_id,
        mail_proxy_sync_token=[SYNC_TOKEN, "the-old-one"],
        mail_proxy_store=f"memory://{uuid4()}",
        mail_proxy_dispatch="inline",
        mail_proxy_events=False,
        mail_proxy_from_email="shop@example.com",
        task_always_eager=True,
    ) as app:
        yield app


@pytest.fixture
def proxy(app: Celery) -> Iterator[ProxyAdministration]:
    """The proxy, to see what has been written there."""
    proxy = ProxyAdministration(load_settings(app).server())
    yield proxy
    proxy.close()


def output_of(command: str, *args: str) -> str:
    """What a command writes; whatever it writes, it shows no secret."""
    stream = io.StringIO()
    try:
        call_command(command, *args, stdout=stream, stderr=stream)
    finally:
        for secret in (SYNC_TOKEN, PASSWORD, "the-old-one"):
            assert secret not in stream.getvalue()
    return stream.getvalue()


def setup(*args: str) -> dict[str, Any]:
    return json.loads(output_of("mailproxy_setup", "--json", *args))


def states(answer: dict[str, Any]) -> dict[str, str]:
    return {f"{row['subject']}.{row['field']}": row["state"] for row in answer["rows"]}


def written(tmp_path: Path, password: str = PASSWORD) -> str:
    file = tmp_path / "password"
    file.write_text(f"{password}\n")
    return str(file)


# mailproxy_setup


@pytest.mark.integration
def test_setup_creates_tenant_and_account(proxy: ProxyAdministration, names: ProxyTenant, tmp_path: Path) -> None:
    answer = setup(
        *("--callback-url", CALLBACK, "--smtp-host", "smtp.example.com", "--smtp-port", "587", "--use-tls"),
        *("--smtp-user", "shop", "--smtp-password-file", written(tmp_path)),
    )
    assert answer["changes"] == 11
    tenant = proxy.find_tenant(names.id)
    assert tenant is not None
    assert tenant["client_base_url"] == CALLBACK
    assert (tenant["client_sync_path"], tenant["client_attachment_path"]) == (
        "/mail-proxy/sync",
        "/mail-proxy/attachments",
    )
    assert tenant["client_auth"] == {"method": "bearer", "token": SYNC_TOKEN}
    account = proxy.find_account(names.id, names.account_id)
    assert account is not None
    assert [account[name] for name in ("host", "port", "user", "use_tls")] == ["smtp.example.com", 587, "shop", True]
    assert account.get("password", PASSWORD) == PASSWORD


@pytest.mark.integration
def test_setup_run_again_changes_nothing(proxy: ProxyAdministration, names: ProxyTenant, tmp_path: Path) -> None:
    options: tuple[str, ...] = ("--callback-url", CALLBACK, "--smtp-host", "smtp.example.com", "--smtp-user", "shop")
    options += ("--smtp-password-file", written(tmp_path))
    setup(*options)
    before = proxy.find_tenant(names.id), proxy.find_account(names.id, names.account_id)
    answer = setup(*options)
    assert answer["changes"] == 0
    # 0.5.0 does not show the password, so that it is sent again.
    is_shown = proxy.api.name == "entities"
    assert states(answer)["account.password"] == ("same" if is_shown else "resend")
    assert (proxy.find_tenant(names.id), proxy.find_account(names.id, names.account_id)) == before
    # Neither is anything lost where nothing is given.
    assert setup()["changes"] == 0
    assert (proxy.find_tenant(names.id), proxy.find_account(names.id, names.account_id)) == before


@pytest.mark.integration
def test_setup_changes_what_differs_and_nothing_else(
    proxy: ProxyAdministration, real_proxy: RealProxy, names: ProxyTenant
) -> None:
    limits: dict[str, Any] = {"limit_per_hour": 7, "batch_size": 3, "ttl": 120, "limit_behavior": "reject"}
    real_proxy.add_tenant(names.id, client_base_url=CALLBACK, basic_auth=("a", "b"), name="Shop", active=False)
    real_proxy.add_account(names.id, names.account_id, "old.example.com", 2525, **limits)
    answer = setup("--smtp-host", "new.example.com")
    changed = {name for name, state in states(answer).items() if state != "same"}
    assert changed == {
        "tenant.client_sync_path",
        "tenant.client_attachment_path",
        "tenant.client_auth",
        "account.host",
    }
    tenant, account = proxy.find_tenant(names.id), proxy.find_account(names.id, names.account_id)
    assert tenant is not None
    assert account is not None
    assert (tenant["name"], tenant["client_base_url"], tenant["active"]) == ("Shop", CALLBACK, False)
    assert {name: account[name] for name in limits} == limits
    assert (account["host"], account["port"], account["use_tls"]) == ("new.example.com", 2525, False)
    assert any("not active" in note for note in answer["notes"])


@pytest.mark.integration
def test_setup_does_not_forget_a_password(
    proxy: ProxyAdministration, real_proxy: RealProxy, names: ProxyTenant, tmp_path: Path
) -> None:
    real_proxy.add_tenant(names.id, client_base_url=CALLBACK)
    real_proxy.add_account(names.id, names.account_id, "smtp.example.com", 25, user="shop", password=PASSWORD)
    if proxy.api.name == "entities":
        setup("--smtp-port", "2525")
        account = proxy.find_account(names.id, names.account_id)
        assert account is not None
        assert (account["password"], account["port"]) == (PASSWORD, 2525)
        return
    with pytest.raises(CommandError, match="password of the account"):
        setup("--smtp-port", "2525")
    setup("--smtp-port", "2525", "--smtp-password-file", written(tmp_path))
    account = proxy.find_account(names.id, names.account_id)
    assert account is not None
    assert (account["user"], account["port"]) == ("shop", 2525)


@pytest.mark.integration
def test_setup_takes_no_account_from_another_tenant(
    proxy: ProxyAdministration, real_proxy: RealProxy, names: ProxyTenant
) -> None:
    other = f"other-{names.id}"
    real_proxy.add_tenant(other)
    real_proxy.add_account(other, names.account_id, "theirs.example.com", 25)
    options = ("--callback-url", CALLBACK, "--smtp-host", "ours.example.com")
    if proxy.api.name == "commands-0.5":
        with pytest.raises(CommandError, match="common to all tenants"):
            setup(*options)
        assert proxy.find_tenant(names.id) is None
    else:
        setup(*options)
    theirs = proxy.find_account(other, names.account_id)
    assert theirs is not None
    assert theirs["host"] == "theirs.example.com"


@pytest.mark.integration
def test_a_dry_run_writes_nothing_and_shows_a_table(proxy: ProxyAdministration, names: ProxyTenant) -> None:
    text = output_of("mailproxy_setup", "--dry-run", "--callback-url", CALLBACK, "--smtp-host", "smtp.example.com")
    assert "new     tenant   client_base_url         https://app.example.com" in text
    assert "new     tenant   client_auth             bearer, the sync token" in text
    assert "new     account  host                    smtp.example.com" in text
    assert "9 fields would change. Nothing was written." in text
    assert proxy.find_tenant(names.id) is None


@pytest.mark.integration
def test_setup_says_what_it_misses(app: Celery, proxy: ProxyAdministration, names: ProxyTenant) -> None:
    with pytest.raises(CommandError, match=r"address of the receiver must be given.*--callback-url https://"):
        setup("--smtp-host", "smtp.example.com")
    with pytest.raises(CommandError, match="SMTP server must be given"):
        setup("--callback-url", CALLBACK)
    app.conf.mail_proxy_sync_token = {"another-tenant": "x"}
    with pytest.raises(CommandError, match="must hold a token for the tenant"):
        setup("--callback-url", CALLBACK, "--smtp-host", "smtp.example.com")
    app.conf.mail_proxy_account = None
    with pytest.raises(CommandError, match="mail_proxy_account must be set"):
        setup()
    assert proxy.find_tenant(names.id) is None


@pytest.mark.integration
def test_setup_tells_of_a_wrong_token(app: Celery) -> None:
    app.conf.mail_proxy_token = "wrong"
    with pytest.raises(CommandError, match="Set mail_proxy_token"):
        setup("--callback-url", CALLBACK, "--smtp-host", "smtp.example.com")


@pytest.mark.integration
def test_setup_uses_the_paths_of_the_project(proxy: ProxyAdministration, names: ProxyTenant) -> None:
    urls = ModuleType("urls")
    urls.urlpatterns = [path("hooks/", include("celery_mailproxy.django.urls"))]  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=urls, ALLOWED_HOSTS=["app.example.com"]):
        answer = setup("--callback-url", CALLBACK, "--smtp-host", "smtp.example.com")
    tenant = proxy.find_tenant(names.id)
    assert tenant is not None
    assert (tenant["client_sync_path"], tenant["client_attachment_path"]) == ("/hooks/sync", "/hooks/attachments")
    assert answer["notes"] == []


@pytest.mark.integration
@pytest.mark.parametrize("real_proxy", ["entities"], indirect=True)
def test_setup_notes_what_may_still_not_work(app: Celery) -> None:
    app.conf.mail_proxy_sync_token = None
    app.conf.mail_proxy_sync_auth = "none"
    options = ("--dry-run", "--callback-url", CALLBACK, "--smtp-host", "smtp.example.com")
    with override_settings(ALLOWED_HOSTS=["other.example.com"]):
        notes = setup(*options)["notes"]
    assert [note.split(":")[0] for note in notes] == [
        "MAIL_PROXY_SYNC_AUTH is 'none'",
        "The callback URL's host is not in ALLOWED_HOSTS",
    ]
    with override_settings(ROOT_URLCONF=None):
        assert "celery_mailproxy.django.urls is not included" in setup(*options)["notes"][1]


@pytest.mark.parametrize("option", [["--callback-url", "app.example.com"], ["--smtp-port", "0"]])
def test_setup_refuses_a_wrong_option(option: list[str]) -> None:
    with pytest.raises(CommandError, match="must be a"):
        output_of("mailproxy_setup", *option)


def project(**options: Any) -> Any:
    """Django's settings of an SMTP server, in the way of its version."""
    if HAS_MAILERS:
        return override_settings(MAILERS={"default": {"OPTIONS": options}})
    words = {"username": "HOST_USER", "password": "HOST_PASSWORD"}
    return override_settings(**{f"EMAIL_{words.get(name, name.upper())}": value for name, value in options.items()})


def test_the_smtp_server_is_djangos() -> None:
    with project(host="smtp.example.com", port=587, username="shop", password=PASSWORD, use_tls=True):
        account = smtp_account({"port": None, "user": "other"})
    assert account == {
        "host": "smtp.example.com",
        "port": 587,
        "user": "other",
        "password": PASSWORD,
        "use_tls": True,
    }


def test_a_server_named_on_the_command_line_is_not_given_the_projects_password() -> None:
    with project(host="smtp.example.com", username="shop", password=PASSWORD):
        assert smtp_account({"host": "elsewhere.example.com"}) == {"host": "elsewhere.example.com"}


def test_a_project_that_names_no_server_has_none() -> None:
    assert smtp_account({}) == {}


def test_tls_from_the_start_needs_its_port() -> None:
    with project(host="smtp.example.com", use_ssl=True):
        assert smtp_account({}) == {"host": "smtp.example.com", "port": 465, "use_tls": True}
    with project(host="smtp.example.com", use_ssl=True, port=2465), pytest.raises(ConfigurationError, match="465"):
        smtp_account({})


@pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")
def test_one_of_several_mailers_must_be_named() -> None:
    mailers = {"a": {"OPTIONS": {"host": "a.example.com"}}, "b": {"OPTIONS": {"host": "b.example.com"}}}
    with override_settings(MAILERS=mailers):
        with pytest.raises(ConfigurationError, match=r"several of MAILERS speak SMTP \(a, b\)"):
            smtp_account({})
        assert smtp_account({}, mailer="b") == {"host": "b.example.com"}
        with pytest.raises(ConfigurationError, match="got 'c'"):
            smtp_account({}, mailer="c")


# mailproxy_check


def check(*args: str) -> tuple[bool, dict[str, dict[str, str]]]:
    """Whether all is well, and the links by name."""
    stream = io.StringIO()
    exit_code: object = 0
    try:
        call_command("mailproxy_check", "--json", *args, stdout=stream)
    except SystemExit as exc:
        exit_code = exc.code
    assert SYNC_TOKEN not in stream.getvalue()
    answer = json.loads(stream.getvalue())
    assert answer["ok"] is (exit_code == 0)
    return answer["ok"], {link["link"]: link for link in answer["links"]}


@pytest.fixture
def served(app: Celery, real_proxy: RealProxy, names: ProxyTenant, mail_sink: MailSink) -> Iterator[str]:
    """A project that is set up by our own command, and serves."""
    with override_settings(ALLOWED_HOSTS=["127.0.0.1"]), serve_wsgi() as url:
        setup("--callback-url", url, "--smtp-host", mail_sink.host, "--smtp-port", str(mail_sink.port))
        yield url
    # Else each of the proxy's later cycles would call a server that is gone.
    real_proxy.add_tenant(names.id, active=False)


@pytest.mark.integration
def test_check_passes_where_setup_has_run(served: str, mail_sink: MailSink) -> None:
    is_fine, links = check("--send-to", "ann@example.com", "--timeout", "180")
    outcomes = {name: link["outcome"] for name, link in links.items()}
    assert is_fine
    for name in ("application", "settings", "proxy", "API", "token", "tenant", "account", "callback URL", "callback"):
        assert outcomes[name] == "ok", links[name]
    assert outcomes["callback token"] == "ok"
    assert outcomes["round trip"] == "ok"
    assert len(mail_sink.mails) == 1


@pytest.mark.integration
@pytest.mark.parametrize("real_proxy", ["entities"], indirect=True)
@pytest.mark.parametrize(
    ("args", "setting", "sender"),
    [
        ((), None, "The Shop <project@example.com>"),
        ((), "setting@example.com", "setting@example.com"),
        (("--from", "option@example.com"), "setting@example.com", "option@example.com"),
    ],
)
def test_check_sends_as_the_project_does(
    app: Celery, served: str, mail_sink: MailSink, args: tuple[str, ...], setting: str | None, sender: str
) -> None:
    app.conf.mail_proxy_from_email = setting
    with override_settings(DEFAULT_FROM_EMAIL="The Shop <project@example.com>"):
        _, links = check("--send-to", "ann@example.com", "--timeout", "180", *args)
    assert links["round trip"]["outcome"] == "ok", links["round trip"]
    assert mail_sink.mails[-1].message["From"] == sender


@pytest.mark.integration
@pytest.mark.parametrize("real_proxy", ["entities"], indirect=True)
def test_check_knows_where_the_urls_are_included(served: str, app: Celery, names: ProxyTenant) -> None:
    app.conf.mail_proxy_report_path = "/elsewhere"
    _, links = check()
    assert links["callback URL"]["outcome"] == "ok"


@pytest.mark.integration
@pytest.mark.parametrize("real_proxy", ["entities"], indirect=True)
def test_check_tells_of_a_host_that_django_refuses(served: str) -> None:
    with override_settings(ALLOWED_HOSTS=["app.example.com"]):
        is_fine, links = check()
    assert not is_fine
    assert "ALLOWED_HOSTS" in links["callback"]["remedy"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("setting", "value", "link"),
    [
        ("mail_proxy_token", "wrong", "token"),
        ("mail_proxy_account", "nope", "account"),
        ("mail_proxy_tenant", "nope", "tenant"),
        ("mail_proxy_sync_token", "another", "callback token"),
        ("mail_proxy_chunk_size", "many", "settings"),
    ],
)
def test_check_finds_the_broken_link(app: Celery, served: str, setting: str, value: str, link: str) -> None:
    app.conf[setting] = value
    is_fine, links = check()
    assert not is_fine
    assert links[link]["outcome"] == "failed", links


def test_check_without_a_celery_app_says_where_to_import_it() -> None:
    from celery import _state

    with default_app():
        _state.set_default_app(None)
        _, links = check()
    assert links["application"]["outcome"] == "warning"
    assert "__init__.py of the project" in links["application"]["remedy"]


@pytest.mark.integration
def test_check_prints_a_line_for_each_link(served: str) -> None:
    text = output_of("mailproxy_check")
    assert "ok       tenant " in text
    assert text.rstrip().splitlines()[-1].startswith("17 links: ")


# mailproxy_tail


def remember(message_id: str, *reports: tuple[Kind, float], tenant_id: str = "shop", **fields: Any) -> None:
    """Put a mail into the log: each report with its age in seconds."""
    store = get_runtime().store
    created = utcnow() - timedelta(hours=3)
    store.register([Delivery(message_id=message_id, created_at=created, updated_at=created, tenant_id=tenant_id)])
    for kind, age in reports:
        at = utcnow() - timedelta(seconds=age)
        store.record([DeliveryReport(kind=kind, message_id=message_id, at=at, **fields)], claim="test")


@pytest.fixture
def log(db: None) -> Iterator[Celery]:
    """A project that keeps its deliveries in Django's database."""
    with default_app(mail_proxy_store="django://") as app:
        yield app


@pytest.mark.usefixtures("log")
def test_tail_once_shows_the_last_events_oldest_first() -> None:
    for number in range(12):
        remember(f"m{number}", (Kind.QUEUED, 100))
    lines = output_of("mailproxy_tail", "--once").splitlines()
    assert [line.split()[-1] for line in lines] == [f"m{number}" for number in range(2, 12)]
    assert " queued   m2" in lines[0]


@pytest.mark.usefixtures("log")
def test_tail_says_what_became_of_a_mail_and_why() -> None:
    remember("m1", (Kind.QUEUED, 100), (Kind.DEFERRED, 50), reason="451 try later\x1b[31m", code="451")
    lines = output_of("mailproxy_tail", "--once").splitlines()
    assert lines[0].endswith("queued   m1  now deferred  451  451 try later [31m")
    assert lines[1].endswith("deferred m1  451  451 try later [31m")


@pytest.mark.usefixtures("log")
def test_tail_since_a_moment_shows_all_of_it_and_nothing_older() -> None:
    for number in range(15):
        remember(f"m{number}", (Kind.QUEUED, 600), (Kind.SENT, 60))
    lines = output_of("mailproxy_tail", "--once", "--since", "5m", "--json").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["sent"] * 15
    assert output_of("mailproxy_tail", "--once", "--since", (utcnow() + timedelta(hours=1)).isoformat()) == ""
    assert len(output_of("mailproxy_tail", "--once", "--since", "2h").splitlines()) == 30


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("options", [[], ["--since", "1h"]])
def test_tail_shows_that_a_mail_was_queued_before_its_other_events_of_that_second(options: list[str]) -> None:
    store = get_runtime().store
    second = utcnow().replace(microsecond=0) - timedelta(minutes=1)
    store.register([Delivery(message_id="m1", created_at=second, updated_at=second, tenant_id="shop")])
    # The proxy's report, in whole seconds, has overtaken its answer.
    for kind, at in ((Kind.SENT, second), (Kind.QUEUED, second + timedelta(milliseconds=800))):
        store.record([DeliveryReport(kind=kind, message_id="m1", at=at)], claim="test")
    lines = output_of("mailproxy_tail", "--once", "--json", *options).splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["queued", "sent"]


@pytest.mark.usefixtures("log")
def test_a_feed_gives_what_came_together_in_the_same_order() -> None:
    feed = EventFeed()
    feed.newest(10)
    remember("m1", (Kind.SENT, 10.0), (Kind.QUEUED, 10.0))
    # In one second, as the proxy counts.
    EmailLogEvent.objects.update(at=EmailLogEvent.objects.earliest("at").at.replace(microsecond=0))
    assert [event.kind for event in feed.following()] == ["queued", "sent"]


@pytest.mark.usefixtures("log")
def test_tail_shows_one_tenants_mails_alone() -> None:
    remember("m1", (Kind.QUEUED, 10))
    remember("m2", (Kind.QUEUED, 10), tenant_id="club")
    (line,) = output_of("mailproxy_tail", "--once", "--tenant", "club", "--json").splitlines()
    assert (json.loads(line)["message_id"], json.loads(line)["tenant_id"]) == ("m2", "club")


@pytest.mark.usefixtures("log")
def test_a_feed_gives_each_event_once_and_forgets_what_is_settled() -> None:
    now = [0.0]
    feed = EventFeed(clock=lambda: now[0])
    remember("m1", (Kind.QUEUED, 10))
    assert [event.log.message_id for event in feed.newest(10)] == ["m1"]
    for _ in range(3):
        remember(f"later-{now[0]}", (Kind.QUEUED, 10))
        assert [event.log.message_id for event in feed.following()] == [f"later-{now[0]}"]
        assert list(feed.following()) == []
        now[0] += 61
    assert list(feed.following()) == []
    assert feed._given == {}


@pytest.mark.usefixtures("log")
def test_a_feed_gives_an_event_that_was_committed_late() -> None:
    feed = EventFeed()
    feed.newest(10)
    remember("m1", (Kind.QUEUED, 10))
    remember("m2", (Kind.QUEUED, 10))
    late = EmailLogEvent.objects.get(log__message_id="m1")
    number, late_log = late.pk, late.log
    late.delete()
    assert [event.log.message_id for event in feed.following()] == ["m2"]
    late.pk, late.log = number, late_log
    late.save(force_insert=True)
    assert [event.log.message_id for event in feed.following()] == ["m1"]


@pytest.mark.usefixtures("log")
def test_a_feed_asks_as_often_whatever_the_number_of_events(django_assert_num_queries: Any) -> None:
    feed = EventFeed()
    feed.newest(10)
    for number in range(30):
        remember(f"m{number}", (Kind.QUEUED, 10))
    with django_assert_num_queries(2):
        assert len(list(feed.following())) == 30
    with django_assert_num_queries(1):
        assert list(feed.following()) == []


@pytest.mark.usefixtures("db")
def test_tail_notes_that_deliveries_are_kept_elsewhere() -> None:
    with default_app(mail_proxy_store="memory://elsewhere"):
        assert "mail_proxy_store is not django://" in output_of("mailproxy_tail", "--once")


@pytest.mark.parametrize("option", [["--since", "yesterday"], ["--interval", "0"]])
def test_tail_refuses_a_wrong_option(option: list[str]) -> None:
    with pytest.raises(CommandError, match="must be a"):
        output_of("mailproxy_tail", *option)


@pytest.mark.usefixtures("log")
def test_tail_goes_on_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        remember("m1", (Kind.SENT, 1))

    monkeypatch.setattr(time, "sleep", pause)
    assert " sent     m1" in output_of("mailproxy_tail", "--interval", "0.5")
    assert pauses == [0.5, 0.5]
