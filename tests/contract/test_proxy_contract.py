"""One suite for four proxies: the real genro-mail-proxy and `FakeProxy`, each with both HTTP APIs.

What passes here on the real ones is what the client and the receiver are built for; `FakeProxy` has to do the same.
The servers are shared by the module's tests; each test has a tenant, an account and ids of its own.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.errors import ProxyRequestError, ProxyUnavailable
from celery_mailproxy.proxy.api import SubmitAnswer
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.testing import FakeProxy, MailSink, RealProxy
from celery_mailproxy.testing.outcomes import deferred, error

from ..harness.proxy_tenant import ProxyTenant
from ..harness.report_sink import ReportSink
from ..harness.waiting import wait_until

AnyProxy = FakeProxy | RealProxy

PROXIES = ["fake-commands", "fake-entities", "real-commands", "real-entities"]
SUBMIT = {"commands": "/commands/add-messages", "entities": "/messages/add_batch"}
OTHER = {"commands": "entities", "entities": "commands"}
REFUSED_TEXT = "(554, '5.7.1 message refused') (SMTP 554)"


def new_proxy(name: str) -> AnyProxy:
    kind, api = name.split("-")
    if kind == "real":
        return RealProxy(api)  # type: ignore[arg-type]
    # As slow to come again as the real one: what a test waits for is then `run_now`.
    proxy = FakeProxy(api, resend_seconds=300)  # type: ignore[arg-type]
    # What the real ones make of the answers of `MailSink`.
    proxy.plan(lambda message: _recipient(message).startswith("spam"), error(REFUSED_TEXT))
    later = "[SMTPRecipientRefused(451, '4.3.0 try later', 'later@example.com')]"
    proxy.plan(lambda message: _recipient(message).startswith("later"), deferred(later))
    return proxy


def _recipient(message: dict[str, Any]) -> str:
    to = message["to"]
    return str(to[0]) if isinstance(to, list) and to else ""


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> Iterator[AnyProxy]:
    with new_proxy(request.param) as proxy:
        yield proxy


@pytest.fixture(params=PROXIES)
def fresh_proxy(request: pytest.FixtureRequest) -> Iterator[AnyProxy]:
    """One that no other test has used."""
    with new_proxy(request.param) as proxy:
        yield proxy


@pytest.fixture
def tenant(proxy: AnyProxy, mail_sink: MailSink, report_sink: ReportSink) -> Iterator[ProxyTenant]:
    """A tenant whose reports go to `report_sink`."""
    tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
    yield tenant.add(report_sink.url)
    tenant.add(None, active=False)


@pytest.fixture
def anonymous(proxy: AnyProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, trust_env=False) as client:
        yield client


@pytest.fixture
def admin(proxy: AnyProxy) -> Iterator[httpx.Client]:
    # A connection for each request: the real proxies close one behind their back after an unhandled error.
    headers = {"X-API-Token": proxy.token, "Connection": "close"}
    with httpx.Client(base_url=proxy.url, headers=headers, trust_env=False) as client:
        yield client


def future() -> int:
    return int(time.time()) + 3600


def refused(answer: httpx.Response, api: str) -> list[dict[str, Any]]:
    """The refusals of a submission of which nothing was accepted."""
    if api == "commands":
        assert answer.status_code == 400
        assert answer.json()["detail"]["error"] is None
        return list(answer.json()["detail"]["rejected"])
    assert answer.status_code == 200
    assert (answer.json()["ok"], answer.json()["queued"]) == (True, 0)
    return list(answer.json()["rejected"])


class TestSubmitting:
    def test_accepted_messages_are_counted(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("a"), tenant.message("b")])
        assert answer.status_code == 200
        assert answer.json() == {"ok": True, "queued": 2, "rejected": []}

    def test_no_messages_are_no_error(self, tenant: ProxyTenant) -> None:
        assert tenant.proxy.submit([]).json() == {"ok": True, "queued": 0, "rejected": []}

    def test_refused_message_does_not_take_its_neighbours_down(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("good"), tenant.message("bad", account_id=None)])
        reason = {"commands": "missing account configuration", "entities": "Missing 'account_id' field"}
        assert answer.status_code == 200
        assert answer.json() == {
            "ok": True,
            "queued": 1,
            "rejected": [{"id": tenant.message_id("bad"), "reason": reason[tenant.proxy.api]}],
        }

    @pytest.mark.parametrize(
        ("fields", "commands", "entities"),
        [
            ({"account_id": None}, "missing account configuration", "Missing 'account_id' field"),
            ({"from": ""}, "missing from", "Missing 'from' field"),
            ({"to": []}, "missing to", "Missing 'to' field"),
            ({"to": [], "bcc": ["bcc@example.com"]}, "missing to", "Missing 'to' field"),
        ],
    )
    def test_refusal_of_the_only_message_has_a_reason(
        self, tenant: ProxyTenant, fields: dict[str, Any], commands: str, entities: str
    ) -> None:
        api = tenant.proxy.api
        rejected = refused(tenant.proxy.submit([tenant.message("bad", **fields)]), api)
        reason = {"commands": commands, "entities": entities}[api]
        assert rejected == [{"id": tenant.message_id("bad"), "reason": reason}]

    def test_tenant_is_required_by_entities_and_dropped_by_commands(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("m", tenant_id=None)])
        if tenant.proxy.api == "commands":
            assert answer.json()["queued"] == 1
        else:
            assert refused(answer, "entities")[0]["reason"] == "Missing 'tenant_id' field"

    def test_unknown_account_is_refused_or_reported(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        answer = tenant.proxy.submit([tenant.message("m", account_id="nope")])
        if tenant.proxy.api == "commands":
            assert refused(answer, "commands")[0]["reason"] == "account not found"
            return
        assert answer.json()["queued"] == 1
        (report,) = report_sink.wait_for_reports(1)
        assert report["error"] == f"Account 'nope' not found for tenant '{tenant.id}'"

    def test_empty_subject_is_accepted_by_commands_only(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("m", subject="")])
        if tenant.proxy.api == "commands":
            assert answer.json()["queued"] == 1
        else:
            assert refused(answer, "entities")[0]["reason"] == "Missing 'subject' field"

    @pytest.mark.parametrize(
        "fields",
        [
            {"subject": " "},
            {"body": ""},
            {"to": ["undisclosed-recipients:;"], "bcc": ["bcc@example.com"]},
            {"batch_code": "campaign", "unknown_field": 1},
            {"attachments": [{"filename": "a.txt", "storage_path": "base64:aGk=", "fetch_mode": "base64"}]},
        ],
    )
    def test_odd_but_legal_message_is_accepted(self, tenant: ProxyTenant, fields: dict[str, Any]) -> None:
        assert tenant.proxy.submit([tenant.message("m", **fields)]).json()["queued"] == 1

    @pytest.mark.parametrize(
        ("name", "value"), [("to", 5), ("headers", ["a"]), ("deferred_ts", "soon"), ("subject", 5), ("cc", 5)]
    )
    def test_wrong_shape_is_422_for_the_whole_submission_on_commands_only(
        self, tenant: ProxyTenant, name: str, value: Any
    ) -> None:
        # Not to be sent now: what the real entities proxy cannot build, it tries again and again without a pause.
        good, bad = (tenant.message(which, deferred_ts=future()) for which in ("good", "bad"))
        answer = tenant.proxy.submit([good, {**bad, name: value}])
        if tenant.proxy.api == "entities":
            assert (answer.status_code, answer.json()["queued"]) == (200, 2)
            return
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"][:4] == ["body", "messages", 1, name]
        assert tenant.proxy.messages(tenant.id) == []

    def test_missing_field_is_422_on_commands_and_a_refusal_on_entities(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("m", subject=None)])
        if tenant.proxy.api == "entities":
            assert refused(answer, "entities")[0]["reason"] == "Missing 'subject' field"
            return
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "messages", 0, "subject"]

    def test_priority_that_is_no_number_crashes_entities(self, tenant: ProxyTenant, admin: httpx.Client) -> None:
        messages = [tenant.message("first", deferred_ts=future()), tenant.message("second", priority="high")]
        answer = admin.post(SUBMIT[tenant.proxy.api], json={"messages": messages})
        if tenant.proxy.api == "commands":
            assert answer.json()["queued"] == 2
            return
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
        # What came before it in the same submission was taken nevertheless.
        listed = admin.get("/messages/list", params={"tenant_id": tenant.id}).json()
        assert [message["id"] for message in listed] == [tenant.message_id("first")]

    def test_more_than_1000_messages_are_too_many_for_commands(self, tenant: ProxyTenant) -> None:
        messages = [tenant.message("m", account_id=None)] * 1001
        answer = tenant.proxy.submit(messages)
        if tenant.proxy.api == "commands":
            assert answer.status_code == 400
            problem = "Cannot enqueue more than 1000 messages at once"
            assert answer.json() == {"detail": {"error": problem, "rejected": None}}
        else:
            assert len(refused(answer, "entities")) == 1001

    def test_line_break_in_a_header_is_accepted_and_then_an_error(
        self, tenant: ProxyTenant, report_sink: ReportSink
    ) -> None:
        assert tenant.proxy.submit([tenant.message("m", headers={"X-A": "a\nb"})]).json()["queued"] == 1
        (report,) = report_sink.wait_for_reports(1)
        assert report["error"] == "Header values may not contain linefeed or carriage return characters"


class TestSubmittingAgain:
    def test_sent_id_is_never_taken_twice(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        answer = tenant.proxy.submit([tenant.message("m"), tenant.message("new")])
        already = [{"id": tenant.message_id("m"), "reason": "already sent"}]
        rejected = already if tenant.proxy.api == "commands" else []
        assert answer.status_code == 200
        assert answer.json() == {"ok": True, "queued": 1, "rejected": rejected}

    def test_sent_id_alone_is_no_failure(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        answer = tenant.proxy.submit([tenant.message("m")])
        assert answer.status_code == 200
        assert (answer.json()["ok"], answer.json()["queued"]) == (True, 0)

    def test_pending_id_is_updated_in_place(self, tenant: ProxyTenant) -> None:
        tenant.proxy.submit([tenant.message("m", subject="old", deferred_ts=future())])
        answer = tenant.proxy.submit([tenant.message("m", subject="new", deferred_ts=future())])
        assert answer.json() == {"ok": True, "queued": 1, "rejected": []}
        (message,) = tenant.proxy.messages(tenant.id)
        assert message["message"]["subject"] == "new"

    def test_deferred_id_is_tried_again_at_once(self, tenant: ProxyTenant) -> None:
        tenant.proxy.submit([tenant.message("m", to="later@example.com")])
        wait_until(lambda: tenant.proxy.messages(tenant.id)[0].get("deferred_ts"))
        tenant.proxy.submit([tenant.message("m", to="later@example.com", deferred_ts=future())])
        (message,) = tenant.proxy.messages(tenant.id)
        # The retry timer is gone: only what the submission itself says counts.
        assert message["deferred_ts"] > time.time() + 3000

    def test_id_that_ended_in_an_error_is_tried_again_by_commands_only(
        self, tenant: ProxyTenant, report_sink: ReportSink
    ) -> None:
        tenant.proxy.submit([tenant.message("m", to="spam@example.com")])
        report_sink.wait_for_reports(1)
        answer = tenant.proxy.submit([tenant.message("m", to="spam@example.com")])
        assert answer.json()["rejected"] == []
        if tenant.proxy.api == "entities":
            assert answer.json()["queued"] == 0
            return
        assert answer.json()["queued"] == 1
        reports = report_sink.wait_for_reports(2)
        assert [report["error"] for report in reports] == [REFUSED_TEXT, REFUSED_TEXT]

    def test_id_twice_in_one_submission_is_one_message(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("m", deferred_ts=future())] * 2)
        assert answer.json() == {"ok": True, "queued": 2, "rejected": []}
        assert len(tenant.proxy.messages(tenant.id)) == 1


class TestRequests:
    @pytest.mark.parametrize("token", [None, "wrong"])
    def test_missing_or_wrong_token_is_401(self, proxy: AnyProxy, anonymous: httpx.Client, token: str | None) -> None:
        headers = {"X-API-Token": token} if token else {}
        bodies: list[dict[str, Any]] = [{"messages": []}, {}]
        for body in bodies:
            answer = anonymous.post(SUBMIT[proxy.api], json=body, headers=headers)
            assert answer.status_code == 401
            assert answer.json() == {"detail": "Invalid or missing API token"}

    def test_wrong_api_is_404_with_and_without_token(
        self, proxy: AnyProxy, admin: httpx.Client, anonymous: httpx.Client
    ) -> None:
        for client in (admin, anonymous):
            answer = client.post(SUBMIT[OTHER[proxy.api]], json={"messages": []})
            assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})

    def test_wrong_method_is_405(self, proxy: AnyProxy, admin: httpx.Client) -> None:
        answer = admin.get(SUBMIT[proxy.api])
        assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})

    @pytest.mark.parametrize(
        ("content", "location"),
        [(b'{"messages": {}}', ["body", "messages"]), (b"{}", ["body", "messages"]), (b"{nope", ["body", 1])],
    )
    def test_body_that_is_no_submission_is_422(
        self, proxy: AnyProxy, admin: httpx.Client, content: bytes, location: list[Any]
    ) -> None:
        headers = {"Content-Type": "application/json"}
        answer = admin.post(SUBMIT[proxy.api], content=content, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == location

    def test_health_needs_no_token(self, anonymous: httpx.Client) -> None:
        answer = anonymous.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    def test_openapi_tells_the_apis_apart_without_token(self, proxy: AnyProxy, anonymous: httpx.Client) -> None:
        paths = anonymous.get("/openapi.json").json()["paths"]
        assert SUBMIT[proxy.api] in paths
        assert SUBMIT[OTHER[proxy.api]] not in paths

    def test_metrics_are_prometheus_text_and_open_on_entities_only(
        self, proxy: AnyProxy, admin: httpx.Client, anonymous: httpx.Client
    ) -> None:
        assert anonymous.get("/metrics").status_code == (401 if proxy.api == "commands" else 200)
        answer = admin.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert "gmp_pending_messages" in answer.text


class TestMessages:
    def test_listed_message_has_its_status(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        before = int(time.time())
        tenant.proxy.submit([tenant.message("good"), tenant.message("bad", to="spam@example.com")])
        report_sink.wait_for_reports(2)
        listed = {message["id"]: message for message in tenant.proxy.messages(tenant.id)}
        good, bad = listed[tenant.message_id("good")], listed[tenant.message_id("bad")]
        assert good["message"]["subject"] == "Subject of good"
        assert bad["error_ts"] >= before
        assert bad["error"] == REFUSED_TEXT
        if tenant.proxy.api == "commands":
            assert good["sent_ts"] >= before
            assert "error_ts" not in good
        else:
            assert (good["status"], bad["status"]) == ("sent", "error")
            assert good["smtp_ts"] >= before

    def test_history_names_each_event_on_entities(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        (message,) = tenant.proxy.messages(tenant.id, include_history=True)
        events = [event["event_type"] for event in message.get("history", [])]
        assert events == ([] if tenant.proxy.api == "commands" else ["sent"])

    def test_one_message_is_got_on_entities_and_an_unknown_one_crashes(
        self, tenant: ProxyTenant, admin: httpx.Client
    ) -> None:
        tenant.proxy.submit([tenant.message("m", deferred_ts=future())])
        query = {"message_id": tenant.message_id("m"), "tenant_id": tenant.id}
        if tenant.proxy.api == "commands":
            assert admin.get("/messages/get", params=query).status_code == 404
            return
        assert admin.get("/messages/get", params=query).json()["status"] == "deferred"
        answer = admin.get("/messages/get", params={**query, "message_id": "nope"})
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")

    def test_deleted_message_is_gone(self, tenant: ProxyTenant) -> None:
        tenant.proxy.submit([tenant.message("m", deferred_ts=future())])
        answer = tenant.proxy.delete_messages(tenant.id, [tenant.message_id("m"), "nope"])
        assert answer["removed"] == 1
        unknown = "unauthorized" if tenant.proxy.api == "commands" else "not_found"
        assert answer[unknown] == ["nope"]
        assert tenant.proxy.messages(tenant.id) == []

    def test_message_of_another_tenant_is_not_deleted(self, tenant: ProxyTenant) -> None:
        tenant.proxy.submit([tenant.message("m", deferred_ts=future())])
        answer = tenant.proxy.delete_messages("somebody-else", [tenant.message_id("m")])
        assert (answer["removed"], answer["unauthorized"]) == (0, [tenant.message_id("m")])
        assert len(tenant.proxy.messages(tenant.id)) == 1


class TestTenants:
    def test_tenant_of_commands_is_shown_with_its_callback(self, tenant: ProxyTenant, admin: httpx.Client) -> None:
        path = f"/tenant/{tenant.id}" if tenant.proxy.api == "commands" else "/tenants/get"
        shown = admin.get(path, params={"tenant_id": tenant.id}).json()
        assert shown["id"] == tenant.id
        assert shown["client_base_url"].startswith("http://127.0.0.1:")
        assert shown["client_auth"] == {"method": "bearer", "token": tenant.sync_token}

    def test_unknown_tenant_is_404_or_a_crash(self, proxy: AnyProxy, admin: httpx.Client) -> None:
        path = "/tenant/nope" if proxy.api == "commands" else "/tenants/get"
        answer = admin.get(path, params={"tenant_id": "nope"})
        assert answer.status_code == (404 if proxy.api == "commands" else 500)

    def test_updated_tenant_reports_to_its_new_path(
        self, tenant: ProxyTenant, admin: httpx.Client, report_sink: ReportSink
    ) -> None:
        change = {"client_sync_path": "/elsewhere"}
        if tenant.proxy.api == "commands":
            admin.put(f"/tenant/{tenant.id}", json=change).raise_for_status()
        else:
            admin.post("/tenants/update", json={"tenant_id": tenant.id, **change}).raise_for_status()
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        assert report_sink.requests[-1].path == "/elsewhere"

    def test_new_tenant_of_entities_gets_a_token_that_works(
        self, proxy: AnyProxy, anonymous: httpx.Client, tenant: ProxyTenant
    ) -> None:
        other = f"other-{tenant.suffix}"
        first, again = proxy.add_tenant(other), proxy.add_tenant(other)
        if proxy.api == "commands":
            assert first == again == {"ok": True}
            return
        assert "api_key" not in again
        headers = {"X-API-Token": first["api_key"]}
        assert anonymous.get("/messages/list", params={"tenant_id": other}, headers=headers).json() == []

    def test_account_is_listed_without_password(self, tenant: ProxyTenant, admin: httpx.Client) -> None:
        tenant.proxy.add_account(tenant.id, tenant.account_id, "127.0.0.1", 25, user="u", password="secret")
        path = "/accounts" if tenant.proxy.api == "commands" else "/accounts/list"
        answer = admin.get(path, params={"tenant_id": tenant.id})
        assert "secret" not in answer.text
        accounts = answer.json()["accounts"] if tenant.proxy.api == "commands" else answer.json()
        assert [account["id"] for account in accounts] == [tenant.account_id]


class TestProxyClient:
    """What our client makes of their answers."""

    def client(self, tenant: ProxyTenant, **fields: Any) -> ProxyClient:
        settings = {"name": "default", "url": tenant.proxy.url, "token": tenant.proxy.token, "timeout_seconds": 30.0}
        return ProxyClient(ServerSettings(**{**settings, **fields}))

    @pytest.mark.parametrize("is_told", [False, True])
    def test_an_accepted_mail_is_accepted_however_often(self, tenant: ProxyTenant, is_told: bool) -> None:
        client = self.client(tenant, **({"api": tenant.proxy.api} if is_told else {}))
        client.health()
        assert client.api.name == tenant.proxy.api
        for _ in range(2):
            answer = client.submit([tenant.message("m"), tenant.message("n", deferred_ts=future())])
            assert answer == SubmitAnswer(accepted=(tenant.message_id("m"), tenant.message_id("n")))
            wait_until(lambda: _is_sent(tenant, "m"))
        held = tenant.proxy.api == "entities"
        assert client.holds(tenant.message_id("m"), tenant.id) is held
        assert not client.holds(tenant.message_id("another"), tenant.id)
        client.close()

    def test_a_refused_mail_is_refused_alone(self, tenant: ProxyTenant) -> None:
        client = self.client(tenant)
        answer = client.submit([tenant.message("bad", account_id=None), tenant.message("good")])
        assert (answer.accepted, list(answer.rejected)) == ((tenant.message_id("good"),), [tenant.message_id("bad")])
        alone = client.submit([tenant.message("bad", account_id=None)])
        assert (alone.accepted, alone.rejected) == ((), answer.rejected)
        client.close()

    def test_a_mail_of_the_wrong_shape_ends_and_takes_no_other_down(self, tenant: ProxyTenant) -> None:
        client = self.client(tenant)
        good, bad = (tenant.message(which, deferred_ts=future()) for which in ("good", "bad"))
        bad["priority" if tenant.proxy.api == "entities" else "headers"] = ["odd"]
        answer = client.submit([good, bad, tenant.message("new", deferred_ts=future())])
        assert answer.accepted == (good["id"], tenant.message_id("new"))
        if tenant.proxy.api == "entities":
            # It fails with a 500, which may be anything.
            assert list(answer.unsettled) == [bad["id"]]
        else:
            assert list(answer.rejected) == [bad["id"]]
            with pytest.raises(ProxyRequestError, match="headers"):
                client.submit([bad])
        client.close()

    def test_a_wrong_token_is_to_be_fixed(self, tenant: ProxyTenant) -> None:
        client = self.client(tenant, token="wrong")
        with pytest.raises(ProxyUnavailable, match="Set mail_proxy_token") as caught:
            client.submit([tenant.message("m")])
        assert (caught.value.status, caught.value.maybe_accepted) == (401, False)
        client.close()

    def test_the_other_api_is_to_be_fixed(self, tenant: ProxyTenant) -> None:
        client = self.client(tenant, api=OTHER[tenant.proxy.api])
        with pytest.raises(ProxyUnavailable, match="Check mail_proxy_url and mail_proxy_api") as caught:
            client.submit([tenant.message("m")])
        assert (caught.value.status, caught.value.maybe_accepted) == (404, False)
        client.close()

    def test_tenants_and_accounts_are_read(self, tenant: ProxyTenant) -> None:
        client = self.client(tenant)
        assert client.tenant(tenant.id)["id"] == tenant.id
        found = client.find_tenant(tenant.id)
        assert found is not None
        assert found["id"] == tenant.id
        assert [account["id"] for account in client.accounts(tenant.id)] == [tenant.account_id]
        assert client.messages(tenant.id) == []
        if isinstance(tenant.proxy, RealProxy):
            assert client.is_active() is (True if tenant.proxy.api == "entities" else None)
        client.close()


def _is_sent(tenant: ProxyTenant, name: str) -> bool:
    done = "sent_ts" if tenant.proxy.api == "commands" else "smtp_ts"
    listed = {message["id"]: message for message in tenant.proxy.messages(tenant.id)}
    return bool(listed[tenant.message_id(name)].get(done))


class TestReports:
    def test_report_of_a_sent_mail(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        before = int(time.time())
        tenant.proxy.submit([tenant.message("m")])
        (report,) = report_sink.wait_for_reports(1)
        assert before <= report.pop("sent_ts") <= time.time()
        nulls = {"error_ts": None, "error": None} if tenant.proxy.api == "commands" else {}
        assert report == {"id": tenant.message_id("m"), **nulls}

    def test_report_of_an_error(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        before = int(time.time())
        tenant.proxy.submit([tenant.message("m", to="spam@example.com")])
        (report,) = report_sink.wait_for_reports(1)
        assert before <= report.pop("error_ts") <= time.time()
        nulls = {"sent_ts": None} if tenant.proxy.api == "commands" else {}
        assert report == {"id": tenant.message_id("m"), "error": REFUSED_TEXT, **nulls}

    def test_report_of_a_deferred_mail_comes_from_entities_only(
        self, tenant: ProxyTenant, report_sink: ReportSink
    ) -> None:
        before = int(time.time())
        tenant.proxy.submit([tenant.message("m", to="later@example.com")])
        if tenant.proxy.api == "commands":
            wait_until(lambda: tenant.proxy.messages(tenant.id)[0].get("deferred_ts"))
            tenant.proxy.submit([tenant.message("after")])
            report_sink.wait_for_reports(1)
            assert [report["id"] for report in report_sink.wait_for_reports(1)] == [tenant.message_id("after")]
            return
        (report,) = report_sink.wait_for_reports(1)
        assert before <= report.pop("deferred_ts") <= time.time()
        reason = "[SMTPRecipientRefused(451, '4.3.0 try later', 'later@example.com')]"
        assert report == {"id": tenant.message_id("m"), "deferred_reason": reason}

    def test_refused_message_is_also_reported_by_commands(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        refused(tenant.proxy.submit([tenant.message("m", to=[])]), tenant.proxy.api)
        tenant.proxy.submit([tenant.message("after")])
        wanted = 2 if tenant.proxy.api == "commands" else 1
        reports = {report["id"]: report for report in report_sink.wait_for_reports(wanted)}
        if tenant.proxy.api == "commands":
            assert "missing" in reports[tenant.message_id("m")]["error"]
        else:
            assert list(reports) == [tenant.message_id("after")]

    def test_report_goes_to_the_default_path_with_the_bearer_token(
        self, tenant: ProxyTenant, report_sink: ReportSink
    ) -> None:
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        request = report_sink.requests[-1]
        assert request.path == "/mail-proxy/sync"
        assert request.headers["Authorization"] == f"Bearer {tenant.sync_token}"
        assert request.headers["Content-Type"].startswith("application/json")

    def test_report_goes_to_the_tenants_path_with_basic_authentication(
        self, tenant: ProxyTenant, report_sink: ReportSink
    ) -> None:
        tenant.add(report_sink.url, sync_path="/hooks/mail", bearer_token=None, basic_auth=("user", "pass word"))
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        request = report_sink.requests[-1]
        assert request.path == "/hooks/mail"
        credentials = base64.b64encode(b"user:pass word").decode()
        assert request.headers["Authorization"] == f"Basic {credentials}"

    @pytest.mark.parametrize("status", [503, 500, 401, 404])
    def test_refused_report_comes_again_unchanged(
        self, tenant: ProxyTenant, report_sink: ReportSink, status: int
    ) -> None:
        report_sink.answer_next(status)
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        tenant.proxy.run_now(tenant.id)
        first, second = report_sink.wait_for_reports(2)
        assert first == second

    def test_report_comes_after_the_receiver_was_down(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        tenant.add("http://127.0.0.1:9")
        tenant.proxy.submit([tenant.message("m")])
        done = "sent_ts" if tenant.proxy.api == "commands" else "smtp_ts"
        wait_until(lambda: tenant.proxy.messages(tenant.id)[0].get(done))
        tenant.add(report_sink.url)
        tenant.proxy.run_now(tenant.id)
        assert report_sink.wait_for_reports(1)[0]["id"] == tenant.message_id("m")

    @pytest.mark.parametrize(
        "answer",
        [
            (200, '{"ok": false, "error": ["%s"], "not_found": ["%s"]}'),
            (200, "<html>It works!</html>"),
            (202, ""),
        ],
    )
    def test_any_2xx_acknowledges_for_good(
        self, tenant: ProxyTenant, report_sink: ReportSink, answer: tuple[int, str]
    ) -> None:
        status, body = answer
        report_sink.answer_next((status, body.replace("%s", tenant.message_id("m"))))
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        tenant.proxy.submit([tenant.message("after")])
        ids = [report["id"] for report in report_sink.wait_for_reports(2)]
        assert ids == [tenant.message_id("m"), tenant.message_id("after")]

    def test_receiver_with_mail_of_its_own_is_called_again_at_once_by_commands_only(
        self, fresh_proxy: AnyProxy, mail_sink: MailSink, report_sink: ReportSink
    ) -> None:
        tenant = ProxyTenant(proxy=fresh_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
        report_sink.answer_next((200, '{"ok": true, "queued": 1}'))
        tenant.add(report_sink.url)
        fresh_proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        if fresh_proxy.api == "commands":
            wait_until(lambda: len(report_sink.requests) >= 2)
            assert report_sink.requests[1].reports == []
        else:
            fresh_proxy.submit([tenant.message("after")])
            report_sink.wait_for_reports(2)
            assert [len(request.reports) for request in report_sink.requests] == [1, 1]

    def test_run_now_without_reports_sends_an_empty_one(
        self, fresh_proxy: AnyProxy, mail_sink: MailSink, report_sink: ReportSink
    ) -> None:
        tenant = ProxyTenant(proxy=fresh_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
        tenant.add(report_sink.url)
        fresh_proxy.run_now(tenant.id)
        wait_until(lambda: report_sink.requests)
        assert report_sink.requests[0].body == {"delivery_report": []}


class TestSuspending:
    @pytest.fixture
    def other_sink(self) -> Iterator[ReportSink]:
        with ReportSink() as sink:
            yield sink

    def test_suspended_tenant_is_not_reported_to_until_activated(
        self, fresh_proxy: AnyProxy, mail_sink: MailSink, report_sink: ReportSink, other_sink: ReportSink
    ) -> None:
        tenant = ProxyTenant(proxy=fresh_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
        tenant.add(report_sink.url)
        fresh_proxy.suspend(tenant.id)
        fresh_proxy.submit([tenant.message("m")])
        done = "sent_ts" if fresh_proxy.api == "commands" else "smtp_ts"
        if fresh_proxy.api == "commands":
            # Only its reports stop.
            wait_until(lambda: fresh_proxy.messages(tenant.id)[0].get(done))
        else:
            # What comes later and is another tenant's is sent and reported meanwhile.
            other = ProxyTenant(proxy=fresh_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
            fresh_proxy.submit([other.add(other_sink.url).message("other")])
            other_sink.wait_for_reports(1)
            assert fresh_proxy.messages(tenant.id)[0][done] is None
        assert not any(request.reports for request in report_sink.requests)
        fresh_proxy.activate(tenant.id)
        fresh_proxy.run_now(tenant.id)
        assert report_sink.wait_for_reports(1)[0]["id"] == tenant.message_id("m")


class TestRetriesOfTheRealProxy:
    """Not for `FakeProxy`, which does what it is told."""

    @pytest.mark.parametrize("api", ["commands", "entities"])
    def test_deferred_mail_is_sent_by_commands_and_lost_by_entities(
        self, api: Any, mail_sink: MailSink, report_sink: ReportSink
    ) -> None:
        mail_sink.answer_next("to@example.com", "451 4.3.0 try later")
        with RealProxy(api, retry_delays_seconds=(1,)) as proxy:
            tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
            proxy.submit([tenant.add(report_sink.url).message("m")])
            if api == "commands":
                (last,) = report_sink.wait_for_reports(1)
                assert last["sent_ts"]
            else:
                # Its 0.7.0 saves the message for the retry in a way that its sender cannot read.
                *_, last = report_sink.wait_for_reports(2)
                assert last["error"] == "missing 'from'"
        assert len(mail_sink.mails) == (1 if api == "commands" else 0)
