"""One suite for every proxy: each release of genro-mail-proxy that can be had, and each flavour of `FakeProxy`.

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
from celery_mailproxy.deliveries.report import Kind, parse_entry
from celery_mailproxy.errors import ProxyRequestError, ProxyUnavailable
from celery_mailproxy.proxy.api import SubmitAnswer
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.proxy.held import HeldState
from celery_mailproxy.testing import FakeProxy, MailSink
from celery_mailproxy.testing.outcomes import error

from ..harness.proxy_tenant import ProxyTenant
from ..harness.report_sink import ReportSink
from ..harness.waiting import wait_until
from .proxies import (
    LATE,
    OTHER,
    PROXIES,
    REFUSED_TEXT,
    SUBMIT,
    AnyProxy,
    future,
    new_proxy,
    nudged_reports,
    refusal_in,
    refused,
)

#: A fake of each is held to the same, beside one real proxy.
pytestmark = pytest.mark.full_with("real-commands-0.5")


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> Iterator[AnyProxy]:
    with new_proxy(request.param) as proxy:
        yield proxy


@pytest.fixture(params=PROXIES)
def fresh_proxy(request: pytest.FixtureRequest) -> Iterator[AnyProxy]:
    """One that no other test has used."""
    with new_proxy(request.param) as proxy:
        yield proxy


_EMPTY_LIST: Any = {"ok": True, "messages": []}


class TestSubmitting:
    def test_accepted_messages_are_counted(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("a"), tenant.message("b")])
        assert answer.status_code == 200
        assert answer.json() == {"ok": True, "queued": 2, "rejected": []}

    def test_no_messages_are_no_error(self, tenant: ProxyTenant) -> None:
        assert tenant.proxy.submit([]).json() == {"ok": True, "queued": 0, "rejected": []}

    def test_refused_message_does_not_take_its_neighbours_down(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("good"), tenant.message("bad", to=[])])
        reason = "Missing 'to' field" if tenant.proxy.profile == "entities" else "missing to"
        assert answer.status_code == 200
        assert answer.json() == {
            "ok": True,
            "queued": 1,
            "rejected": [{"id": tenant.message_id("bad"), "reason": reason}],
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
        profile = tenant.proxy.profile
        answer = tenant.proxy.submit([tenant.message("bad", **fields)])
        if "account_id" in fields and profile in LATE:
            assert answer.status_code == 422
            return
        reason = entities if profile == "entities" else commands
        assert refused(answer, profile) == [{"id": tenant.message_id("bad"), "reason": reason}]

    def test_tenant_is_required_and_dropped_by_0_5_0(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("m", tenant_id=None)])
        if tenant.proxy.profile == "commands-0.5":
            assert answer.json()["queued"] == 1
        elif tenant.proxy.profile in LATE:
            assert answer.status_code == 422
        else:
            assert refused(answer, "entities")[0]["reason"] == "Missing 'tenant_id' field"

    def test_unknown_account_is_refused_or_reported(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        answer = tenant.proxy.submit([tenant.message("m", account_id="nope")])
        if tenant.proxy.profile != "entities":
            reason = "account not found" + (" for tenant" if tenant.proxy.profile in LATE else "")
            assert refused(answer, tenant.proxy.profile)[0]["reason"] == reason
            return
        assert answer.json()["queued"] == 1
        (report,) = report_sink.wait_for_reports(1)
        assert report["error"] == f"Account 'nope' not found for tenant '{tenant.id}'"

    def test_empty_subject_is_accepted_by_0_5_0_only(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("m", subject="")])
        if tenant.proxy.profile == "commands-0.5":
            assert answer.json()["queued"] == 1
        elif tenant.proxy.profile in LATE:
            assert answer.status_code == 422
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
    def test_wrong_shape_is_422_for_the_whole_submission_but_on_0_7_0(
        self, tenant: ProxyTenant, name: str, value: Any
    ) -> None:
        # Not to be sent now: what the real entities proxy cannot build, it tries again and again without a pause.
        good, bad = (tenant.message(which, deferred_ts=future()) for which in ("good", "bad"))
        answer = tenant.proxy.submit([good, {**bad, name: value}])
        if tenant.proxy.profile == "entities":
            assert (answer.status_code, answer.json()["queued"]) == (200, 2)
            return
        assert answer.status_code == 422
        if tenant.proxy.profile == "v1":
            assert f"\nmessages.1.{name}" in answer.json()["error"]
        else:
            assert answer.json()["detail"][0]["loc"][:4] == ["body", "messages", 1, name]
        assert tenant.proxy.messages(tenant.id) == []

    def test_missing_field_is_422_and_a_refusal_on_0_7_0(self, tenant: ProxyTenant) -> None:
        answer = tenant.proxy.submit([tenant.message("m", subject=None)])
        if tenant.proxy.profile == "entities":
            assert refused(answer, "entities")[0]["reason"] == "Missing 'subject' field"
            return
        assert answer.status_code == 422
        if tenant.proxy.profile == "v1":
            assert "\nmessages.0.subject\n" in answer.json()["error"]
        else:
            assert answer.json()["detail"][0]["loc"] == ["body", "messages", 0, "subject"]

    def test_priority_that_is_no_number_crashes_0_7_0(self, tenant: ProxyTenant, admin: httpx.Client) -> None:
        messages = [tenant.message("first", deferred_ts=future()), tenant.message("second", priority="high")]
        answer = admin.post(SUBMIT[tenant.proxy.profile], json={"messages": messages})
        if tenant.proxy.profile != "entities":
            assert answer.json()["queued"] == 2
            return
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
        # What came before it in the same submission was taken nevertheless.
        listed = admin.get("/messages/list", params={"tenant_id": tenant.id}).json()
        assert [message["id"] for message in listed] == [tenant.message_id("first")]

    def test_more_than_1000_messages_are_too_many_but_for_0_7_0(self, tenant: ProxyTenant) -> None:
        messages = [tenant.message("m", to=[])] * 1001
        answer = tenant.proxy.submit(messages)
        if tenant.proxy.profile != "entities":
            assert answer.status_code == 400
            problem = "Cannot enqueue more than 1000 messages at once"
            assert refusal_in(answer, tenant.proxy.profile) == {"error": problem, "rejected": None}
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
        rejected = already if tenant.proxy.profile != "entities" else []
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

    def test_id_that_ended_in_an_error_is_tried_again_by_0_5_0_only(
        self, tenant: ProxyTenant, report_sink: ReportSink
    ) -> None:
        tenant.proxy.submit([tenant.message("m", to="spam@example.com")])
        report_sink.wait_for_reports(1)
        answer = tenant.proxy.submit([tenant.message("m", to="spam@example.com")])
        assert answer.status_code == 200
        already = [{"id": tenant.message_id("m"), "reason": "already sent"}]
        assert answer.json()["rejected"] == (already if tenant.proxy.profile in LATE else [])
        if tenant.proxy.profile != "commands-0.5":
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
            answer = anonymous.post(SUBMIT[proxy.profile], json=body, headers=headers)
            assert answer.status_code == 401
            if proxy.profile == "v1":
                assert "detail" not in answer.json()
            else:
                assert answer.json() == {"detail": "Invalid or missing API token"}

    def test_wrong_api_is_404_with_and_without_token(
        self, proxy: AnyProxy, admin: httpx.Client, anonymous: httpx.Client
    ) -> None:
        for client in (admin, anonymous):
            answer = client.post(SUBMIT[OTHER[proxy.profile]], json={"messages": []})
            said = {"error": "route:v1/messages"} if proxy.profile == "v1" else {"detail": "Not Found"}
            assert (answer.status_code, answer.json()) == (404, said)

    def test_wrong_method_is_405_and_not_looked_at_by_v1(self, proxy: AnyProxy, admin: httpx.Client) -> None:
        answer = admin.get(SUBMIT[proxy.profile])
        if proxy.profile == "v1":
            # As if nothing had been posted.
            assert answer.status_code == 422
            return
        assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})

    @pytest.mark.parametrize(
        ("content", "location"),
        [(b'{"messages": {}}', ["body", "messages"]), (b"{}", ["body", "messages"]), (b"{nope", ["body", 1])],
    )
    def test_body_that_is_no_submission_is_422(
        self, proxy: AnyProxy, admin: httpx.Client, content: bytes, location: list[Any]
    ) -> None:
        headers = {"Content-Type": "application/json"}
        answer = admin.post(SUBMIT[proxy.profile], content=content, headers=headers)
        assert answer.status_code == 422
        if proxy.profile == "v1":
            # genro-asgi 0.46 says of a body that is no JSON that it is none.
            said = ("Invalid request body: 1 validation error", "body is not valid json")
            assert answer.json()["error"].startswith(said)
        else:
            assert answer.json()["detail"][0]["loc"] == location

    def test_health_needs_no_token(self, anonymous: httpx.Client) -> None:
        answer = anonymous.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    def test_openapi_tells_the_apis_apart_without_token(self, proxy: AnyProxy, anonymous: httpx.Client) -> None:
        if proxy.profile == "v1":
            answer = anonymous.get("/openapi.json")
            assert (answer.status_code, answer.json()) == (404, {"error": "route:v1"})
            return
        paths = anonymous.get("/openapi.json").json()["paths"]
        assert SUBMIT[proxy.profile] in paths
        assert SUBMIT[OTHER[proxy.profile]] not in paths
        assert ("/tenant/{tenant_id}/api-key" in paths) is (proxy.profile == "commands-0.6")

    def test_status_says_whether_it_is_active_since_0_5_8(self, proxy: AnyProxy, admin: httpx.Client) -> None:
        path = "/instance/status" if proxy.profile == "entities" else "/status"
        active = {} if proxy.profile == "commands-0.5" else {"active": True}
        assert admin.get(path).json() == {"ok": True, **active}

    def test_metrics_are_prometheus_text_and_open_but_on_0_5_0(
        self, proxy: AnyProxy, admin: httpx.Client, anonymous: httpx.Client
    ) -> None:
        assert anonymous.get("/metrics").status_code == (401 if proxy.profile == "commands-0.5" else 200)
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
        if tenant.proxy.profile != "entities":
            assert good["sent_ts"] >= before
            assert "error_ts" not in good
        else:
            assert (good["status"], bad["status"]) == ("sent", "error")
            assert good["smtp_ts"] >= before

    def test_history_names_each_event_but_on_0_5_0(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        (message,) = tenant.proxy.messages(tenant.id, include_history=True)
        events = [event["event_type"] for event in message.get("history", [])]
        assert events == ([] if tenant.proxy.profile == "commands-0.5" else ["sent"])

    def test_one_message_is_got_on_0_7_0_and_an_unknown_one_crashes(
        self, tenant: ProxyTenant, admin: httpx.Client
    ) -> None:
        tenant.proxy.submit([tenant.message("m", deferred_ts=future())])
        query = {"message_id": tenant.message_id("m"), "tenant_id": tenant.id}
        if tenant.proxy.profile != "entities":
            assert admin.get("/messages/get", params=query).status_code == 404
            return
        assert admin.get("/messages/get", params=query).json()["status"] == "deferred"
        answer = admin.get("/messages/get", params={**query, "message_id": "nope"})
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")

    def test_deleted_message_is_gone(self, tenant: ProxyTenant) -> None:
        tenant.proxy.submit([tenant.message("m", deferred_ts=future())])
        answer = tenant.proxy.delete_messages(tenant.id, [tenant.message_id("m"), "nope"])
        assert answer["removed"] == 1
        unknown = "unauthorized" if tenant.proxy.profile != "entities" else "not_found"
        assert answer[unknown] == ["nope"]
        assert tenant.proxy.messages(tenant.id) == []

    def test_message_of_another_tenant_is_not_deleted(self, tenant: ProxyTenant) -> None:
        tenant.proxy.submit([tenant.message("m", deferred_ts=future())])
        answer = tenant.proxy.delete_messages("somebody-else", [tenant.message_id("m")])
        assert (answer["removed"], answer["unauthorized"]) == (0, [tenant.message_id("m")])
        assert len(tenant.proxy.messages(tenant.id)) == 1


class TestTenants:
    def test_tenant_of_commands_is_shown_with_its_callback(self, tenant: ProxyTenant, admin: httpx.Client) -> None:
        path = f"/tenant/{tenant.id}" if tenant.proxy.profile != "entities" else "/tenants/get"
        shown = admin.get(path, params={"tenant_id": tenant.id}).json()
        assert shown["id"] == tenant.id
        assert shown["client_base_url"].startswith("http://127.0.0.1:")
        assert shown["client_auth"] == {"method": "bearer", "token": tenant.sync_token}

    def test_unknown_tenant_is_404_or_a_crash(self, proxy: AnyProxy, admin: httpx.Client) -> None:
        path = "/tenant/nope" if proxy.profile != "entities" else "/tenants/get"
        answer = admin.get(path, params={"tenant_id": "nope"})
        assert answer.status_code == (404 if proxy.profile != "entities" else 500)

    def test_updated_tenant_reports_to_its_new_path(
        self, tenant: ProxyTenant, admin: httpx.Client, report_sink: ReportSink
    ) -> None:
        change = {"client_sync_path": "/elsewhere"}
        if tenant.proxy.profile != "entities":
            admin.put(f"/tenant/{tenant.id}", json=change).raise_for_status()
        else:
            admin.post("/tenants/update", json={"tenant_id": tenant.id, **change}).raise_for_status()
        tenant.proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        assert report_sink.requests[-1].path == "/elsewhere"

    def test_new_tenant_gets_a_token_that_works_but_on_0_5_0(
        self, proxy: AnyProxy, anonymous: httpx.Client, tenant: ProxyTenant
    ) -> None:
        other = f"other-{tenant.suffix}"
        first, again = proxy.add_tenant(other), proxy.add_tenant(other)
        if proxy.profile == "commands-0.5":
            assert first == again == {"ok": True}
            return
        assert "api_key" not in again
        headers = {"X-API-Token": first["api_key"]}
        path, empty = ("/messages/list", []) if proxy.profile == "entities" else ("/messages", _EMPTY_LIST)
        assert anonymous.get(path, params={"tenant_id": other}, headers=headers).json() == empty

    def test_account_is_listed_without_password(self, tenant: ProxyTenant, admin: httpx.Client) -> None:
        tenant.proxy.add_account(tenant.id, tenant.account_id, "127.0.0.1", 25, user="u", password="secret")
        path = "/accounts" if tenant.proxy.profile != "entities" else "/accounts/list"
        answer = admin.get(path, params={"tenant_id": tenant.id})
        assert "secret" not in answer.text
        accounts = answer.json()["accounts"] if tenant.proxy.profile != "entities" else answer.json()
        assert [account["id"] for account in accounts] == [tenant.account_id]


class TestProxyClient:
    """What our client makes of their answers."""

    def client(self, tenant: ProxyTenant, **fields: Any) -> ProxyClient:
        settings = {"name": "default", "url": tenant.proxy.url, "token": tenant.proxy.token, "timeout_seconds": 30.0}
        return ProxyClient(ServerSettings(**{**settings, **fields}))

    @pytest.mark.parametrize("is_told", [False, True])
    def test_an_accepted_mail_is_accepted_however_often(self, tenant: ProxyTenant, is_told: bool) -> None:
        client = self.client(tenant, **({"api": tenant.proxy.profile} if is_told else {}))
        client.health()
        assert client.api.name == tenant.proxy.profile
        for _ in range(2):
            answer = client.submit([tenant.message("m"), tenant.message("n", deferred_ts=future())])
            assert answer == SubmitAnswer(accepted=(tenant.message_id("m"), tenant.message_id("n")))
            wait_until(lambda: _is_sent(tenant, "m"))
        for name, state in (("m", HeldState.SENT), ("n", HeldState.PENDING)):
            held = client.find(tenant.message_id(name), tenant.id)
            assert held is not None
            assert (held.state, held.account_id, held.reason) == (state, tenant.account_id, None)
        assert not client.holds(tenant.message_id("another"), tenant.id)
        client.close()

    def test_a_refused_mail_is_refused_alone(self, tenant: ProxyTenant) -> None:
        client = self.client(tenant)
        answer = client.submit([tenant.message("bad", to=[]), tenant.message("good")])
        assert (answer.accepted, list(answer.rejected)) == ((tenant.message_id("good"),), [tenant.message_id("bad")])
        alone = client.submit([tenant.message("worse", to=[])])
        assert (alone.accepted, list(alone.rejected.values())) == ((), list(answer.rejected.values()))
        client.close()

    def test_a_mail_of_the_wrong_shape_ends_and_takes_no_other_down(self, tenant: ProxyTenant) -> None:
        client = self.client(tenant)
        good, bad = (tenant.message(which, deferred_ts=future()) for which in ("good", "bad"))
        bad["priority" if tenant.proxy.profile == "entities" else "headers"] = ["odd"]
        answer = client.submit([good, bad, tenant.message("new", deferred_ts=future())])
        assert answer.accepted == (good["id"], tenant.message_id("new"))
        if tenant.proxy.profile == "entities":
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
        client = self.client(tenant, api=OTHER[tenant.proxy.profile])
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
        assert client.is_active() is (None if tenant.proxy.profile == "commands-0.5" else True)
        client.close()

    def test_an_id_that_ended_as_error_is_no_success(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        client = self.client(tenant)
        bad = tenant.message("m", to="spam@example.com")
        assert client.submit([bad]).accepted == (bad["id"],)
        report_sink.wait_for_reports(1)
        again = client.submit([bad, tenant.message("new", deferred_ts=future())])
        if tenant.proxy.profile == "commands-0.5":
            # It is tried again.
            assert again.accepted == (bad["id"], tenant.message_id("new"))
        else:
            assert again.accepted == (tenant.message_id("new"),)
            assert again.rejected == {bad["id"]: f"ended as error at the proxy before: {REFUSED_TEXT}"}
            # Deleted there, it is taken.
            assert client.submit_anew([{**bad, "to": ["to@example.com"]}]).accepted == (bad["id"],)
            wait_until(lambda: _is_sent(tenant, "m"))
        client.close()

    def test_a_text_that_looks_typed_arrives_as_it_was(self, tenant: ProxyTenant) -> None:
        client = self.client(tenant)
        mail = {**tenant.message("m", subject="Total 5::N", body="std::T", deferred_ts=future())}
        mail = {**mail, "id": f"{mail['id']}::T", "headers": {"X-Code": "x::L"}}
        assert client.submit([mail]).accepted == (mail["id"],)
        (listed,) = client.messages(tenant.id)
        sent = listed["message"]
        assert listed["id"] == mail["id"]
        assert (sent["subject"], sent["body"], sent["headers"]) == ("Total 5::N", "std::T", {"X-Code": "x::L"})
        assert client.delete_messages(tenant.id, [mail["id"]])["removed"] == 1
        client.close()

    def test_a_tenant_is_suspended_and_activated(self, tenant: ProxyTenant) -> None:
        if tenant.proxy.profile == "commands-0.5":
            # It would stop the reports of the other tests.
            return
        client = self.client(tenant)
        assert client.suspend(tenant.id, "campaign") == ("campaign",)
        assert client.suspend(tenant.id) == ("*",)
        tenant.proxy.submit([tenant.message("m", batch_code="campaign"), tenant.message("n")])
        assert (client.count_pending(tenant.id), client.count_pending(tenant.id, "campaign")) == (2, 1)
        with pytest.raises(ProxyRequestError):
            client.activate(tenant.id, "campaign")
        assert client.activate(tenant.id) == ()
        wait_until(lambda: _is_sent(tenant, "m") and _is_sent(tenant, "n"))
        assert client.count_pending(tenant.id) == 0
        with pytest.raises(ProxyRequestError):
            client.suspend(f"nobody-{tenant.suffix}")
        client.close()

    def test_a_batch_is_suspended_alone(self, tenant: ProxyTenant) -> None:
        if tenant.proxy.profile == "commands-0.5":
            return
        client = self.client(tenant)
        assert client.suspend(tenant.id, "campaign") == ("campaign",)
        tenant.proxy.submit([tenant.message("m", batch_code="campaign"), tenant.message("n", batch_code="other")])
        wait_until(lambda: _is_sent(tenant, "n"))
        assert not _is_sent(tenant, "m")
        assert client.count_pending(tenant.id, "campaign") == 1
        assert client.activate(tenant.id, "campaign") == ()
        wait_until(lambda: _is_sent(tenant, "m"))
        client.close()


def _is_sent(tenant: ProxyTenant, name: str) -> bool:
    done = "sent_ts" if tenant.proxy.profile != "entities" else "smtp_ts"
    listed = {message["id"]: message for message in tenant.proxy.messages(tenant.id)}
    return bool(listed[tenant.message_id(name)].get(done))


class TestReports:
    def test_rate_limit_of_the_account_has_a_code(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        proxy = tenant.proxy
        if isinstance(proxy, FakeProxy):
            proxy.plan(f"limited@{tenant.suffix}.example", error("rate_limit_exceeded"))
        elif proxy.profile == "commands-0.5":
            # It overshoots, and when it refuses is not known.
            return
        limits: dict[str, Any] = {"limit_per_day": 1, "limit_behavior": "reject"}
        proxy.add_account(tenant.id, tenant.account_id, tenant.smtp_host, tenant.smtp_port, **limits)
        for number in range(3):
            proxy.submit([tenant.message(f"m{number}", f"limited@{tenant.suffix}.example")])
            report_sink.wait_for_reports(number + 1)
        entry = report_sink.wait_for_reports(3)[-1]
        (parsed,) = parse_entry(entry)
        assert (parsed.kind, parsed.reason, parsed.code) == (Kind.ERROR, "rate_limit_exceeded", "rate_limit")

    def test_report_of_a_sent_mail(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        before = int(time.time())
        tenant.proxy.submit([tenant.message("m")])
        (report,) = report_sink.wait_for_reports(1)
        assert before <= report.pop("sent_ts") <= time.time()
        nulls = {"error_ts": None, "error": None} if tenant.proxy.profile == "commands-0.5" else {}
        assert report == {"id": tenant.message_id("m"), **nulls}

    def test_report_of_an_error(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        before = int(time.time())
        tenant.proxy.submit([tenant.message("m", to="spam@example.com")])
        (report,) = report_sink.wait_for_reports(1)
        assert before <= report.pop("error_ts") <= time.time()
        nulls = {"sent_ts": None} if tenant.proxy.profile == "commands-0.5" else {}
        assert report == {"id": tenant.message_id("m"), "error": REFUSED_TEXT, **nulls}

    def test_report_of_a_deferred_mail_comes_but_from_0_5_0(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        before = int(time.time())
        tenant.proxy.submit([tenant.message("m", to="later@example.com")])
        if tenant.proxy.profile in LATE:
            (report,) = report_sink.wait_for_reports(1)
            # When it will be tried again, and not why.
            assert report.pop("deferred_ts") > time.time() + 30
            assert report == {"id": tenant.message_id("m"), "deferred_reason": None}
            return
        if tenant.proxy.profile != "entities":
            wait_until(lambda: tenant.proxy.messages(tenant.id)[0].get("deferred_ts"))
            tenant.proxy.submit([tenant.message("after")])
            report_sink.wait_for_reports(1)
            assert [report["id"] for report in report_sink.wait_for_reports(1)] == [tenant.message_id("after")]
            return
        (report,) = report_sink.wait_for_reports(1)
        assert before <= report.pop("deferred_ts") <= time.time()
        reason = "[SMTPRecipientRefused(451, '4.3.0 try later', 'later@example.com')]"
        assert report == {"id": tenant.message_id("m"), "deferred_reason": reason}

    def test_refused_message_is_also_reported_but_by_0_7_0(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        refused(tenant.proxy.submit([tenant.message("m", to=[])]), tenant.proxy.profile)
        tenant.proxy.submit([tenant.message("after")])
        wanted = 2 if tenant.proxy.profile != "entities" else 1
        reports = {report["id"]: report for report in report_sink.wait_for_reports(wanted)}
        if tenant.proxy.profile != "entities":
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
        first, second = nudged_reports(tenant, report_sink, 2)
        assert first == second

    def test_report_comes_after_the_receiver_was_down(self, tenant: ProxyTenant, report_sink: ReportSink) -> None:
        tenant.add("http://127.0.0.1:9")
        tenant.proxy.submit([tenant.message("m")])
        done = "sent_ts" if tenant.proxy.profile != "entities" else "smtp_ts"
        wait_until(lambda: tenant.proxy.messages(tenant.id)[0].get(done))
        tenant.add(report_sink.url)
        assert nudged_reports(tenant, report_sink, 1)[0]["id"] == tenant.message_id("m")

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

    def test_receiver_with_mail_of_its_own_is_called_again_at_once_by_0_5_0_only(
        self, fresh_proxy: AnyProxy, mail_sink: MailSink, report_sink: ReportSink
    ) -> None:
        tenant = ProxyTenant(proxy=fresh_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
        report_sink.answer_next((200, '{"ok": true, "queued": 1}'))
        tenant.add(report_sink.url)
        fresh_proxy.submit([tenant.message("m")])
        report_sink.wait_for_reports(1)
        if fresh_proxy.profile == "commands-0.5":
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
        done = "sent_ts" if fresh_proxy.profile != "entities" else "smtp_ts"
        if fresh_proxy.profile == "commands-0.5":
            # Only its reports stop.
            wait_until(lambda: fresh_proxy.messages(tenant.id)[0].get(done))
        else:
            # What comes later and is another tenant's is sent and reported meanwhile.
            other = ProxyTenant(proxy=fresh_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
            fresh_proxy.submit([other.add(other_sink.url).message("other")])
            other_sink.wait_for_reports(1)
            assert fresh_proxy.messages(tenant.id)[0].get(done) is None
        assert not any(request.reports for request in report_sink.requests)
        fresh_proxy.activate(tenant.id)
        assert nudged_reports(tenant, report_sink, 1)[0]["id"] == tenant.message_id("m")


class TestRetriesOfTheRealProxy:
    """Not for `FakeProxy`, which does what it is told."""

    @pytest.mark.parametrize("name", [name for name in PROXIES if name.startswith("real")])
    def test_deferred_mail_is_sent_by_commands_and_lost_by_0_7_0(
        self, name: str, mail_sink: MailSink, report_sink: ReportSink
    ) -> None:
        mail_sink.answer_next("to@example.com", "451 4.3.0 try later")
        with new_proxy(name, retry_delays_seconds=(1,)) as proxy:
            tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
            proxy.submit([tenant.add(report_sink.url).message("m")])
            *_, last = report_sink.wait_for_reports(1 if proxy.profile == "commands-0.5" else 2)
            is_sent = proxy.profile != "entities"
            if is_sent:
                assert last["sent_ts"]
            else:
                # It saves the message for the retry in a way that its sender cannot read.
                assert last["error"] == "missing 'from'"
        assert len(mail_sink.mails) == (1 if is_sent else 0)
