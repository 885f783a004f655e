"""What the releases since 0.5.8 that have `/commands` do, 0.6.10 and the line in development, and the others do not."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from ..harness.proxy_tenant import ProxyTenant
from ..harness.report_sink import ReportSink
from .proxies import LATE, PROXIES, SUBMIT, AnyProxy, future, new_proxy, refused


@pytest.fixture(scope="module", params=[name for name in PROXIES if name.endswith(LATE)])
def proxy(request: pytest.FixtureRequest) -> Iterator[AnyProxy]:
    with new_proxy(request.param) as proxy:
        yield proxy


def test_pending_id_that_is_refused_stays_pending_with_the_wrong_account(tenant: ProxyTenant) -> None:
    tenant.proxy.submit([tenant.message("m", deferred_ts=future())])
    answer = tenant.proxy.submit([tenant.message("m", account_id="nope", deferred_ts=future())])
    assert refused(answer, tenant.proxy.profile)[0]["reason"] == "account not found for tenant"
    (listed,) = tenant.proxy.messages(tenant.id)
    assert (listed["account_id"], "sent_ts" in listed, "error_ts" in listed) == ("nope", False, False)
    # Its account does not exist, so that it is nobody's.
    deleted = tenant.proxy.delete_messages(tenant.id, [tenant.message_id("m")])
    assert (deleted["removed"], deleted["unauthorized"]) == (0, [tenant.message_id("m")])


def test_refused_id_is_already_sent(tenant: ProxyTenant) -> None:
    tenant.proxy.submit([tenant.message("m", account_id="nope")])
    answer = tenant.proxy.submit([tenant.message("m", deferred_ts=future())])
    assert answer.json()["rejected"] == [{"id": tenant.message_id("m"), "reason": "already sent"}]
    (listed,) = tenant.proxy.messages(tenant.id)
    assert listed["error"] == "account not found for tenant"


def test_tenants_token_reads_its_own_and_submits_and_suspends_for_any(
    proxy: AnyProxy, tenant: ProxyTenant, anonymous: httpx.Client
) -> None:
    key = proxy.add_tenant(f"other-{tenant.suffix}")["api_key"]
    headers = {"X-API-Token": key}
    query = {"tenant_id": tenant.id}
    assert anonymous.get("/messages", params=query, headers=headers).status_code == 401
    assert anonymous.get("/accounts", params=query, headers=headers).status_code == 401
    assert anonymous.get("/tenants", headers=headers).status_code == 403
    mail = tenant.message("m", deferred_ts=future())
    answer = anonymous.post(SUBMIT[proxy.profile], json={"messages": [mail]}, headers=headers)
    assert answer.json()["queued"] == 1
    for command in ("suspend", "activate"):
        answer = anonymous.post(f"/commands/{command}", params=query, headers=headers)
        assert (answer.status_code, answer.json()["tenant_id"]) == (200, tenant.id)


def test_deleted_account_takes_the_mail_of_every_tenant_with_it(
    proxy: AnyProxy, tenant: ProxyTenant, admin: httpx.Client
) -> None:
    other = ProxyTenant(proxy=proxy, suffix=f"{tenant.suffix}o").add()
    proxy.add_account(other.id, tenant.account_id, "127.0.0.1", 25)
    mails = [
        tenant.message("m", deferred_ts=future()),
        other.message("m", account_id=tenant.account_id, deferred_ts=future()),
    ]
    assert proxy.submit(mails).json()["queued"] == 2
    admin.delete(f"/account/{tenant.account_id}", params={"tenant_id": tenant.id}).raise_for_status()
    assert proxy.messages(tenant.id) == proxy.messages(other.id) == []


def test_batch_is_suspended_alone_and_cannot_be_activated_out_of_all(tenant: ProxyTenant, admin: httpx.Client) -> None:
    batch = {"tenant_id": tenant.id, "batch_code": "b1"}
    tenant.proxy.submit([tenant.message("m", batch_code="b1", deferred_ts=future())])
    answer = admin.post("/commands/suspend", params=batch).json()
    assert (answer["suspended_batches"], answer["pending_messages"]) == (["b1"], 1)
    assert admin.post("/commands/activate", params=batch).json()["suspended_batches"] == []
    tenant.proxy.suspend(tenant.id)
    assert admin.post("/commands/activate", params=batch).status_code == 400
    tenant.proxy.activate(tenant.id)


def test_batch_code_has_64_characters_at_most(tenant: ProxyTenant) -> None:
    for length, status in ((64, 200), (65, 422)):
        mail = tenant.message(f"m{length}", batch_code="b" * length, deferred_ts=future())
        assert tenant.proxy.submit([mail]).status_code == status


def test_list_of_the_pending_leaves_out_what_has_ended(
    tenant: ProxyTenant, admin: httpx.Client, report_sink: ReportSink
) -> None:
    tenant.proxy.submit([tenant.message("m"), tenant.message("n", deferred_ts=future())])
    report_sink.wait_for_reports(1)
    query = {"tenant_id": tenant.id, "active_only": "true"}
    listed = admin.get("/messages", params=query).json()["messages"]
    assert [each["id"] for each in listed] == [tenant.message_id("n")]
