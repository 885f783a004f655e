"""The commands of `celery mailproxy`, each in this process: memory store, fake proxies, no broker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from celery import Celery
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result

from celery_mailproxy.cli import mailproxy
from celery_mailproxy.cli.check.app_links import check_application, check_settings, check_workers
from celery_mailproxy.cli.check.callback_links import CallbackProbe
from celery_mailproxy.cli.check.links import Link, Outcome, fine, hide_secrets
from celery_mailproxy.cli.check.proxy_links import ProxyProbe
from celery_mailproxy.cli.terminal import plain, span
from celery_mailproxy.conf.settings import ServerSettings, Settings, load_settings
from celery_mailproxy.deliveries.delivery import Delivery, Dispatched
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.deliveries.stores.base import Recording
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.dispatch.signals import mail_sent
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.receiver.default import receiver_of
from celery_mailproxy.runtime import forget_runtime, get_runtime
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import error

Run = Callable[..., Result]
COMMANDS = ["check", "migration", "prune", "receiver", "replay", "send", "share", "status", "tail"]
TOKEN, SYNC_TOKEN = "api-token-7f3a", "sync-token-91bc"


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", set_as_current=False, broker="memory://")
    app.conf.update(
        mail_proxy_url="http://127.0.0.1:1",
        mail_proxy_token=TOKEN,
        mail_proxy_tenant="acme",
        mail_proxy_account="main",
        mail_proxy_sync_token=SYNC_TOKEN,
        mail_proxy_from_email="shop@example.com",
        mail_proxy_store=f"memory://{uuid4()}",
    )
    yield app
    forget_runtime(app)
    app.close()


@pytest.fixture
def run(app: Celery) -> Run:
    def run(*args: str, **options: Any) -> Result:
        context = CLIContext(app=app, no_color=options.pop("no_color", False), workdir=None)
        return CliRunner().invoke(mailproxy, list(args), obj=context, catch_exceptions=False, **options)

    return run


@pytest.fixture
def remember(app: Celery) -> Callable[..., Delivery]:
    """Put a delivery with these reports into the store."""

    def remember(message_id: str, *reports: DeliveryReport, **fields: Any) -> Delivery:
        store = get_runtime(app).store
        now = utcnow() - timedelta(minutes=5)
        fields = {"task_id": message_id, "tenant_id": "acme", "account_id": "main", **fields}
        store.register([Delivery(message_id=message_id, created_at=now, updated_at=now, **fields)])
        for report in reports:
            store.record([report], claim="test")
            store.mark_dispatched([Dispatched(message_id=message_id, key=report.key)])
        delivery = store.get(message_id)
        assert delivery is not None
        return delivery

    return remember


def report(kind: Kind, message_id: str = "m1", *, seconds_ago: float = 60, **fields: Any) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id=message_id, at=utcnow() - timedelta(seconds=seconds_ago), **fields)


# The command line itself


def test_the_overview_lists_every_command(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(f"  {command} " in result.output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"celery -A proj mailproxy {command}" in result.output
    assert "--traceback" in result.output


def test_a_mistyped_command_is_recognised(run: Run) -> None:
    result = run("chek")
    assert result.exit_code == 2
    assert "check" in result.output


def test_importing_the_plugin_loads_no_command() -> None:
    code = (
        "import sys; import celery_mailproxy.cli; from celery.bin.worker import worker\n"
        "loaded = [m for m in sys.modules if m.startswith(('celery_mailproxy.cli.', 'rich'))]\n"
        "assert not loaded, loaded\n"
        "assert 'mailproxy_listen' in [parameter.name for parameter in worker.params]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_an_error_is_one_line_and_no_traceback(run: Run, app: Celery) -> None:
    app.conf.mail_proxy_store = "floppy://a"
    result = run("status", "m1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: store must be redis://")
    assert len(result.stderr.splitlines()) == 1


def test_the_traceback_can_be_asked_for(run: Run, app: Celery) -> None:
    app.conf.mail_proxy_store = "floppy://a"
    with pytest.raises(Exception, match="store must be"):
        run("status", "m1", "--traceback")
    with pytest.raises(Exception, match="store must be"):
        run("status", "m1", env={"CELERY_MAILPROXY_DEBUG": "1"})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.42, "0.4 s"), (12, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3600, "1 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_foreign_text_cannot_steer_the_terminal() -> None:
    assert plain("451 later\n\x1b[2Jgone\x07") == "451 later [2Jgone"


# status


def test_status_shows_the_timeline(run: Run, remember: Callable[..., Delivery]) -> None:
    remember(
        "m1",
        report(Kind.QUEUED, seconds_ago=299),
        report(Kind.DEFERRED, seconds_ago=298, reason="451 4.3.0 try later"),
        report(Kind.SENT, seconds_ago=60),
        report(Kind.DEFERRED, seconds_ago=58, reason="late"),
        summary={"subject": "Grüße \x1b[31m", "recipients": 2},
    )
    result = run("status", "m1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "m1: sent"
    assert "2 recipients" in result.stdout
    assert "Grüße" in result.stdout
    assert "451 4.3.0 try later" in result.stdout
    assert "tenant acme" in result.stdout
    assert "\x1b" not in result.stdout
    assert "deferred  late (stale: came too late to count)" in lines[-1]


def test_status_in_a_terminal_is_a_panel_that_fits(run: Run, remember: Callable[..., Delivery]) -> None:
    remember("m1", report(Kind.ERROR, reason="550 no such user " * 10))
    result = run("status", "m1", env={"FORCE_COLOR": "1", "COLUMNS": "80"})
    assert "╭" in result.stdout
    plain_lines = _without_escapes(result.stdout).splitlines()
    assert max(map(len, plain_lines)) == 80


def test_status_names_failed_handlers_and_how_to_run_them_again(
    run: Run, app: Celery, remember: Callable[..., Delivery]
) -> None:
    remember("m1", sent := report(Kind.SENT))
    dispatched = Dispatched(message_id="m1", key=sent.key, failed=("mail_sent:shop.handlers.paid",))
    get_runtime(app).store.mark_dispatched([dispatched])
    result = run("status", "m1")
    assert "mail_sent:shop.handlers.paid failed" in result.stdout
    assert "celery -A proj mailproxy replay m1" in result.stdout


def test_status_marks_what_has_not_been_told(run: Run, app: Celery, remember: Callable[..., Delivery]) -> None:
    remember("m1")
    get_runtime(app).store.record([report(Kind.SENT)], claim="other")
    assert "not told yet" in run("status", "m1").stdout


def test_status_in_json_holds_the_history(run: Run, remember: Callable[..., Delivery]) -> None:
    remember("m1", report(Kind.SENT, raw={"id": "m1", "sent_ts": 1}))
    remember("m2")
    first, second = (json.loads(line) for line in run("status", "m1", "m2", "--json").stdout.splitlines())
    assert (first["message_id"], first["status"], first["attempts"]) == ("m1", "sent", 1)
    assert [entry["kind"] for entry in first["history"]] == ["sent"]
    assert (second["status"], second["history"]) == ("new", [])


def test_status_shows_what_belongs_together(run: Run, remember: Callable[..., Delivery]) -> None:
    remember("m3", members=("ann@example.com", "bob@example.com"))
    remember("m3-1", parent_id="m3")
    text = run("status", "m3", "m3-1").stdout
    assert "m3-0 to m3-1" in text
    assert "Part of:   m3" in text
    first, second = (json.loads(line) for line in run("status", "m3", "m3-1", "--json").stdout.splitlines())
    assert (first["member_ids"], second["parent_id"]) == (["m3-0", "m3-1"], "m3")
    assert "@example.com" not in text + json.dumps(first)


def test_status_of_an_unknown_message_fails(run: Run, remember: Callable[..., Delivery]) -> None:
    remember("m1")
    result = run("status", "m1", "nobody")
    assert result.exit_code == 1
    assert "m1: new" in result.stdout
    assert "no message 'nobody' is known" in result.stderr


def test_status_says_where_only_reports_are_known(run: Run, app: Celery) -> None:
    get_runtime(app).store.record([report(Kind.SENT)], claim="test", how=Recording(adopt=True))
    assert "only reports are known" in run("status", "m1").stdout


# replay and prune


@pytest.fixture
def failing_handler(app: Celery) -> Iterator[list[bool]]:
    """A handler of `mail_sent` that raises until told otherwise."""
    is_mended: list[bool] = []

    def handler(**kwargs: Any) -> None:
        if not is_mended:
            raise RuntimeError("not yet")

    mail_sent.connect(handler, weak=False, dispatch_uid="test-cli")
    yield is_mended
    mail_sent.disconnect(handler, dispatch_uid="test-cli")


def test_replay_runs_failed_handlers_until_they_succeed(
    run: Run, app: Celery, remember: Callable[..., Delivery], failing_handler: list[bool]
) -> None:
    remember("m1")
    dispatcher_of(get_runtime(app)).dispatch([report(Kind.SENT)], claim="test")
    result = run("replay", "--all")
    assert result.exit_code == 1
    assert "m1  1 failed again, 0 succeeded" in result.stdout
    failing_handler.append(True)
    assert run("replay", "m1").stdout == "m1  1 succeeded\n"
    assert run("replay", "--all").stdout == "No handler has failed.\n"


def test_replay_of_an_unknown_message_fails(run: Run) -> None:
    result = run("replay", "nobody")
    assert result.exit_code == 1
    assert "unknown message" in result.stdout


def test_replay_wants_ids_or_all(run: Run) -> None:
    assert run("replay").exit_code == 2
    assert run("replay", "m1", "--all").exit_code == 2


def test_prune_says_how_many_it_forgot(run: Run, app: Celery, remember: Callable[..., Delivery]) -> None:
    remember("m1", report(Kind.SENT))
    remember("m2")
    app.conf.mail_proxy_store_ttl_seconds = 1e-6
    forget_runtime(app)
    assert run("prune").stdout == "1 expired delivery forgotten.\n"
    assert run("prune").stdout == "0 expired deliveries forgotten.\n"


# send


@pytest.fixture
def proxy(app: Celery) -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        app.conf.update(
            mail_proxy_url=proxy.url,
            mail_proxy_token=proxy.token,
            mail_proxy_tenant=proxy.tenant_id,
            mail_proxy_account=proxy.account_id,
        )
        yield proxy


def test_send_direct_submits_every_part(run: Run, proxy: FakeProxy, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("attached")
    (tmp_path / "body.html").write_text("<p>Hello</p>")
    arguments = ["--to", "ann@example.com", "--to", "bob@example.com", "--cc", "cy@example.com", "--subject", "Hello"]
    files = ["--html-file", str(tmp_path / "body.html"), "--attach", str(tmp_path / "a.txt"), "--body-file", "-"]
    result = run("send", *arguments, *files, "--priority", "high", "--id", "m1", "--direct", input="from stdin")
    assert (result.exit_code, result.stdout) == (0, "m1\n")
    (message,) = proxy.received
    assert message["to"] == ["ann@example.com", "bob@example.com"]
    assert message["cc"] == ["cy@example.com"]
    assert message["priority"] == 1
    assert message["subject"] == "Hello"
    assert {"from stdin", "<p>Hello</p>"} <= {line.strip() for line in message["body"].splitlines()}


def test_send_names_the_option_that_is_wrong(run: Run) -> None:
    result = run("send", "--to", "not an address", "--direct")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --to[0]: ")
    assert "--send-at: must be a time" in run("send", "--to", "a@example.com", "--send-at", "tomorrow").stderr
    assert "--priority: " in run("send", "--to", "a@example.com", "--priority", "urgent", "--direct").stderr
    both = run("send", "--to", "a@example.com", "--body", "x", "--body-file", "-", input="y")
    assert "--body: cannot be given together" in both.stderr


def test_send_reports_an_unreachable_proxy_in_one_line(run: Run) -> None:
    result = run("send", "--to", "ann@example.com", "--direct")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no connection to the proxy at http://127.0.0.1:1")
    assert len(result.stderr.splitlines()) == 1


def test_send_and_wait_follows_the_mail_to_its_end(run: Run, app: Celery, proxy: FakeProxy) -> None:
    app.conf.mail_proxy_dispatch = "inline"
    with _receiver(app) as url:
        proxy.report_to(url, bearer_token=SYNC_TOKEN)
        result = run("send", "--to", "ann@example.com", "--direct", "--wait", "--timeout", "10")
        assert result.exit_code == 0, result.output
        # In this order or the other: the report may overtake the answer.
        assert {line.split()[-1] for line in result.stdout.splitlines()[1:]} >= {"sent"}
        proxy.plan("bad@example.com", error("550 no such user"))
        result = run("send", "--to", "bad@example.com", "--direct", "--wait", "--json")
        assert result.exit_code == 1
        assert (answer := json.loads(result.stdout))["status"] == "error"
        assert answer["reason"] == "550 no such user"


def test_send_and_wait_gives_up_in_time(run: Run, proxy: FakeProxy) -> None:
    result = run("send", "--to", "ann@example.com", "--direct", "--wait", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "the mail is still queued after 0.2 s" in result.stderr


# check: the command


def test_check_of_a_whole_chain_is_green(run: Run, app: Celery, proxy: FakeProxy) -> None:
    app.conf.update(mail_proxy_dispatch="inline", task_always_eager=True)
    with _receiver(app) as url:
        proxy.report_to(url, bearer_token=SYNC_TOKEN)
        result = run("check", "--send-to", "ann@example.com", "--timeout", "10", "--json")
    answer = json.loads(result.stdout)
    links = {link["link"]: link["outcome"] for link in answer["links"]}
    assert answer["ok"], answer
    assert result.exit_code == 0
    assert {name for name, outcome in links.items() if outcome == "ok"} == {
        *("application", "settings", "proxy", "API", "token", "tenant", "account"),
        *("callback URL", "callback token", "callback", "round trip"),
    }
    assert (links["broker"], links["workers"], links["store"]) == ("skipped", "skipped", "warning")
    for secret in (SYNC_TOKEN, proxy.token):
        assert secret not in result.output


def test_check_piped_is_plain_lines(run: Run, app: Celery) -> None:
    app.conf.task_always_eager = True
    result = run("check")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ok       application     shop")
    assert any(line.startswith("failed   proxy ") for line in lines)
    assert any("-> Start the proxy, or correct mail_proxy_url." in line for line in lines)
    assert "─" not in result.stdout
    assert lines[-1].endswith("failed.") or "failed" in lines[-1]


@pytest.mark.parametrize("columns", [80, 140])
def test_check_in_a_terminal_fits(run: Run, app: Celery, columns: int) -> None:
    app.conf.task_always_eager = True
    result = run("check", env={"FORCE_COLOR": "1", "COLUMNS": str(columns)})
    lines = _without_escapes(result.stdout).splitlines()
    assert max(map(len, lines)) <= columns
    assert "✗ failed" in result.stdout


def test_no_color_is_respected(run: Run, app: Celery) -> None:
    app.conf.task_always_eager = True
    env = {"FORCE_COLOR": "1", "COLUMNS": "80"}
    assert "\x1b[3" in run("check", env=env).stdout
    assert "\x1b[3" not in run("check", env=env, no_color=True).stdout
    assert "\x1b[3" not in run("check", env={**env, "NO_COLOR": "1"}).stdout


def test_check_goes_on_where_the_settings_are_wrong(run: Run, app: Celery) -> None:
    app.conf.mail_proxy_ulr = "http://x"
    result = run("check")
    assert result.exit_code == 1
    assert "failed   settings        unknown setting mail_proxy_ulr. Did you mean mail_proxy_url?" in result.stdout
    assert "skipped  proxy           needs the settings" in result.stdout


def test_check_of_an_unknown_server_names_the_known(run: Run, app: Celery) -> None:
    app.conf.task_always_eager = True
    assert "server must be one of default, got 'x'" in run("check", "--server", "x").stdout


# check: the links


def settings(**conf: Any) -> Settings:
    app = Celery("x", set_as_current=False)
    app.conf.update({"mail_proxy_url": "http://proxy", "mail_proxy_sync_token": SYNC_TOKEN, **conf})
    return load_settings(app, environ={})


def test_settings_without_a_sync_token_fail() -> None:
    app = Celery("x", set_as_current=False)
    app.conf.mail_proxy_url = "http://proxy"
    link = check_settings(load_settings(app, environ={}))
    assert link.outcome is Outcome.FAILED
    assert "Set mail_proxy_sync_token" in (link.remedy or "")
    assert check_settings(settings(mail_proxy_sync_token=None)).outcome is Outcome.WARNING


def test_a_check_without_application_says_so() -> None:
    link = check_application(Celery("default", set_as_current=False))
    assert (link.outcome, link.remedy) == (Outcome.WARNING, "Name yours: celery -A proj mailproxy check")


def workers(registered: Any, queues: Any) -> Any:
    """An app whose workers answer so."""
    inspect = SimpleNamespace(registered=lambda: registered, active_queues=lambda: queues)
    control = SimpleNamespace(inspect=lambda timeout: inspect)
    real = Celery("x", set_as_current=False)
    real.conf.task_routes = {"celery_mailproxy.send_via_proxy": {"queue": "mails"}}
    return SimpleNamespace(conf=real.conf, amqp=real.amqp, control=control)


BOTH = ["celery_mailproxy.dispatch_reports", "celery_mailproxy.send_via_proxy"]


@pytest.mark.parametrize(
    ("registered", "queues", "outcome", "words"),
    [
        (None, None, Outcome.WARNING, "none answered within 1 s"),
        ({"w1": ["other"]}, None, Outcome.FAILED, "none has celery_mailproxy.send_via_proxy and celery_mailproxy.disp"),
        ({"w1": BOTH}, {"w1": [{"name": "celery"}]}, Outcome.FAILED, "none takes tasks from mails"),
        ({"w1": BOTH}, {"w1": [{"name": "celery"}, {"name": "mails"}]}, Outcome.OK, "w1; queue celery, mails"),
    ],
)
def test_workers_must_have_the_tasks_and_take_their_queues(
    registered: Any, queues: Any, outcome: Outcome, words: str
) -> None:
    link = check_workers(workers(registered, queues), settings(), timeout_seconds=1)
    assert link.outcome is outcome
    assert words in link.found


class WireProxy:
    """The proxy's answers, without a network."""

    def __init__(self, api: str = "entities") -> None:
        self.api = api
        self.is_down = False
        self.is_active = True
        self.knows_tenant = True
        self.tenant: dict[str, Any] = {"id": "acme", "active": True}
        self.accounts = [{"id": "main", "host": "smtp.example.com", "port": 587, "use_tls": True}]

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.is_down:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        path = request.url.path
        if path == "/health":
            return httpx.Response(200, json={"status": "ok"})
        if path == "/openapi.json":
            submit = {"entities": "/messages/add_batch", "commands": "/commands/add-messages"}[self.api]
            return httpx.Response(200, json={"paths": {submit: {}}})
        if request.headers.get("X-API-Token") != TOKEN:
            return httpx.Response(401, json={"detail": "Invalid or missing API token"})
        if path in ("/accounts/list", "/accounts"):
            body = self.accounts if self.api == "entities" else {"ok": True, "accounts": self.accounts}
            return httpx.Response(200, json=body)
        if path == "/instance/status":
            return httpx.Response(200, json={"ok": True, "active": self.is_active})
        if not self.knows_tenant:
            return httpx.Response(500 if self.api == "entities" else 404, text="Internal Server Error")
        return httpx.Response(200, json=self.tenant)


SERVER = ServerSettings(name="default", url="http://proxy", token=TOKEN, tenant="acme", account="main")


def proxy_links(wire: WireProxy, server: ServerSettings = SERVER) -> dict[str, Link]:
    connect = partial(ProxyClient, transport=httpx.MockTransport(wire.answer))
    with ProxyProbe(server, connect=connect) as probe:
        return {link.name: link for link in probe.links()}


@pytest.mark.parametrize("api", ["commands", "entities"])
def test_a_proxy_in_order_has_no_failed_link(api: str) -> None:
    links = proxy_links(WireProxy(api))
    outcomes = {name: link.outcome for name, link in links.items()}
    assert outcomes.pop("sending") is (Outcome.OK if api == "entities" else Outcome.SKIPPED)
    assert set(outcomes.values()) == {Outcome.OK}
    assert links["account"].found == "main: smtp.example.com:587, TLS"
    assert api in links["API"].found


def test_a_proxy_that_is_down_is_one_failure() -> None:
    wire = WireProxy()
    wire.is_down = True
    links = proxy_links(wire)
    assert links["proxy"].outcome is Outcome.FAILED
    assert links["proxy"].remedy == "Start the proxy, or correct mail_proxy_url."
    assert {links[name].outcome for name in ("API", "token", "tenant", "account")} == {Outcome.SKIPPED}


def test_a_wrong_and_a_missing_token_are_told_apart() -> None:
    wrong = proxy_links(WireProxy(), replace(SERVER, token="nonsense"))["token"]
    assert (wrong.outcome, "is wrong" in wrong.found) == (Outcome.FAILED, True)
    assert "Set mail_proxy_token" in (wrong.remedy or "")
    assert "is missing" in proxy_links(WireProxy(), replace(SERVER, token=None))["token"].found


def test_an_api_that_is_set_wrongly_fails() -> None:
    link = proxy_links(WireProxy("entities"), replace(SERVER, api="commands"))["API"]
    assert link.outcome is Outcome.FAILED
    assert link.remedy == "Set mail_proxy_api to 'auto'."


@pytest.mark.parametrize("api", ["commands", "entities"])
def test_an_unknown_tenant_fails(api: str) -> None:
    wire = WireProxy(api)
    wire.knows_tenant = False
    link = proxy_links(wire)["tenant"]
    assert (link.outcome, link.found) == (Outcome.FAILED, "the proxy knows no tenant 'acme'")


def test_a_tenant_that_does_not_send_fails() -> None:
    wire = WireProxy()
    wire.tenant["active"] = False
    assert "not active" in proxy_links(wire)["tenant"].found
    wire.tenant |= {"active": True, "suspended_batches": "*"}
    assert "suspended" in proxy_links(wire)["tenant"].found
    wire.is_active = False
    assert "not active" in proxy_links(wire)["sending"].found


def test_a_missing_account_fails_and_names_those_there_are() -> None:
    link = proxy_links(WireProxy(), replace(SERVER, account="bulk"))["account"]
    assert (link.outcome, link.found) == (Outcome.FAILED, "no account 'bulk': the tenant has main")
    assert proxy_links(WireProxy(), replace(SERVER, account=None))["account"].outcome is Outcome.WARNING


BEARER = {"method": "bearer", "token": SYNC_TOKEN}
TENANT = {"client_base_url": "http://app:9100/", "client_auth": BEARER}


def callback_links(answer: Any, tenant: Any = TENANT, *, conf: Any = None, url: str | None = None) -> dict[str, Link]:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        response: httpx.Response = answer(request) if callable(answer) else answer
        return response

    transport = httpx.MockTransport(handle)
    probe = CallbackProbe(conf or settings(), tenant, "acme", url=url, transport=transport)
    links = {link.name: link for link in probe.links()}
    assert SYNC_TOKEN not in str(links)
    return links


GOOD = httpx.Response(200, json={"ok": True, "queued": 0})


def test_a_callback_in_order_is_called_as_the_proxy_calls_it() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return GOOD

    links = callback_links(answer)
    assert {link.outcome for link in links.values()} == {Outcome.OK}
    assert str(seen[0].url) == "http://app:9100/mail-proxy/sync"
    assert seen[0].headers["Authorization"] == f"Bearer {SYNC_TOKEN}"
    assert json.loads(seen[0].content) == {"delivery_report": []}


def test_basic_credentials_are_compared_and_sent_as_such() -> None:
    conf = settings(mail_proxy_sync_token={"acme": "user:pass word"})
    auth = {"method": "basic", "user": "user", "password": "pass word"}
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return GOOD

    links = callback_links(answer, {**TENANT, "client_auth": auth}, conf=conf)
    assert links["callback token"].outcome is Outcome.OK
    assert seen == ["Basic dXNlcjpwYXNzIHdvcmQ="]


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (httpx.Response(200, html="<h1>Welcome</h1>"), Outcome.FAILED, "the proxy forgets the reports"),
        (httpx.Response(302, headers={"Location": "/login"}), Outcome.FAILED, "a redirect loses the report"),
        (httpx.Response(401), Outcome.FAILED, "has another mail_proxy_sync_token"),
        (httpx.Response(404), Outcome.FAILED, "set the tenant's client_sync_path"),
        (httpx.Response(405), Outcome.FAILED, "takes no POST"),
        (httpx.Response(503), Outcome.FAILED, "look at its broker and store"),
        (httpx.Response(418), Outcome.FAILED, "Look into the receiver's log"),
        (httpx.ConnectError("[Errno 111] Connection refused"), Outcome.FAILED, "Start the receiver"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), Outcome.WARNING, "--callback-url"),
        (httpx.ReadTimeout("timed out"), Outcome.FAILED, "overloaded or firewalled"),
    ],
)
def test_whoever_answers_the_callback_is_judged(answer: Any, outcome: Outcome, words: str) -> None:
    link = callback_links(answer)["callback"]
    assert link.outcome is outcome
    assert words in (link.remedy or "")


@pytest.mark.parametrize(
    ("auth", "outcome", "words"),
    [
        (None, Outcome.FAILED, "client_auth is none"),
        ({"method": "bearer", "token": "another-token"}, Outcome.FAILED, "not the token"),
        ({"method": "bearer", "token": "********"}, Outcome.SKIPPED, "does not show"),
        ({"method": "basic", "user": "u", "password": "another"}, Outcome.FAILED, "not the token"),
    ],
)
def test_the_tenants_credential_is_compared_with_ours(auth: Any, outcome: Outcome, words: str) -> None:
    link = callback_links(GOOD, {**TENANT, "client_auth": auth})["callback token"]
    assert link.outcome is outcome
    assert words in link.found
    assert "another" not in link.found


def test_a_path_that_differs_is_a_warning_and_a_prefix_is_not() -> None:
    link = callback_links(GOOD, {**TENANT, "client_sync_path": "/other"})["callback URL"]
    assert link.outcome is Outcome.WARNING
    assert "client_sync_path to /mail-proxy/sync" in (link.remedy or "")
    mounted = {**TENANT, "client_base_url": "http://user:hunter2@app/api"}
    link = callback_links(GOOD, mounted)["callback URL"]
    assert (link.outcome, link.found) == (Outcome.OK, "http://user:***@app/api/mail-proxy/sync")


def test_a_tenant_without_a_url_gets_no_reports() -> None:
    links = callback_links(GOOD, {"client_auth": BEARER})
    assert links["callback URL"].outcome is Outcome.FAILED
    assert links["callback"].outcome is Outcome.SKIPPED
    links = callback_links(GOOD, None, url="http://here/mail-proxy/sync")
    assert links["callback"].outcome is Outcome.OK


def test_secrets_that_others_quote_are_blotted_out() -> None:
    hidden = hide_secrets(fine("x", "Error near 'tok-12345'"), {"tok-12345", "e"})
    assert hidden.found == "Error near '***'"


class _receiver:
    """The app's receiver on a free port, for the length of a `with`: the base URL."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def __enter__(self) -> str:
        from celery_mailproxy.receiver.server import ReportServer

        forget_runtime(self._app)
        self._server = ReportServer(receiver_of(get_runtime(self._app)), host="127.0.0.1", port=0)
        self._server.start()
        return self._server.urls[0]

    def __exit__(self, *error: object) -> None:
        self._server.stop()


def _without_escapes(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
