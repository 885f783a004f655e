"""Pausing: what a proxy holds back, and how many emails wait there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_mailproxy import ConfigurationError, Pause, ProxyRequestError, pause, resume, run_now
from celery_mailproxy.conf import task_names
from celery_mailproxy.proxy import connection
from celery_mailproxy.testing import FakeProxy
from tests.harness.waiting import wait_until
from tests.unit.tasks.sending.sending_app import MAIL, SendingApp, sending_app


@pytest.fixture(params=["commands-0.6", "entities", "v1"])
def proxy(request: pytest.FixtureRequest) -> Iterator[FakeProxy]:
    with FakeProxy(request.param, reports=False) as proxy:
        yield proxy


@pytest.fixture
def one(proxy: FakeProxy) -> Iterator[SendingApp]:
    with sending_app(proxy) as one:
        yield one


def test_a_batch_waits_until_it_is_resumed(one: SendingApp, proxy: FakeProxy) -> None:
    assert pause(batch_code="spring", app=one.app) == Pause(
        tenant_id=proxy.tenant_id, batch_code="spring", paused=("spring",), pending=0
    )
    one.run(task_names.SEND_MANY, [MAIL, MAIL, MAIL], batch_code="spring")
    one.run(task_names.SEND, task_id="other", **MAIL)
    wait_until(lambda: len(proxy.delivered) == 1)
    paused = pause(batch_code="spring", app=one.app)
    assert (paused.is_paused, paused.pending) == (True, 3)
    resumed = resume(batch_code="spring", app=one.app)
    assert (resumed.is_paused, resumed.paused) == (False, ())
    wait_until(lambda: len(proxy.delivered) == 4)


def test_all_of_a_tenant_waits(one: SendingApp, proxy: FakeProxy) -> None:
    assert pause(app=one.app).is_paused
    one.run(task_names.SEND, **MAIL)
    assert pause(tenant=proxy.tenant_id, app=one.app).pending == 1
    assert proxy.delivered == []
    with pytest.raises(ProxyRequestError, match="single batch"):
        resume(batch_code="spring", app=one.app)
    assert not resume(app=one.app).is_paused
    wait_until(lambda: len(proxy.delivered) == 1)


def test_the_proxy_is_woken(one: SendingApp, proxy: FakeProxy) -> None:
    run_now(app=one.app)
    path = proxy.requests[-1].path
    assert path.endswith(("/commands/run-now", "/instance/run_now"))


def test_too_many_to_be_counted(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(app=one.app)
    one.run(task_names.SEND, **{**MAIL, "body": "x" * 2000})
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 1000)
    assert pause(app=one.app).pending is None


@pytest.mark.parametrize("batch_code", ["", "*", "a,b"])
def test_a_batch_code_that_would_mean_another_is_refused(one: SendingApp, batch_code: str) -> None:
    for act in (pause, resume):
        with pytest.raises(ProxyRequestError, match="without a comma"):
            act(batch_code=batch_code, app=one.app)


def test_an_unknown_tenant_is_refused(one: SendingApp) -> None:
    with pytest.raises(ProxyRequestError, match="not found"):
        pause(tenant="nobody", app=one.app)


def test_a_tenant_has_to_be_known(proxy: FakeProxy) -> None:
    with sending_app(proxy, tenant=None) as one, pytest.raises(ConfigurationError, match="mail_proxy_tenant"):
        pause(app=one.app)


def test_0_5_0_is_not_asked() -> None:
    with FakeProxy("commands-0.5") as proxy, sending_app(proxy) as one:
        for act in (pause, resume):
            with pytest.raises(ProxyRequestError, match="cannot pause"):
                act(app=one.app)
        assert not any("suspend" in each.path or "activate" in each.path for each in proxy.requests)
        run_now(app=one.app)
