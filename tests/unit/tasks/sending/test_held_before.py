"""A mail that is pending is never submitted again with another account."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.tasks.sending.held_before import held_before
from celery_mailproxy.testing import FakeProxy
from tests.unit.testing.messages import message


@pytest.fixture(params=["commands-0.5", "commands-0.6", "entities", "v1"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeProxy]:
    with FakeProxy(request.param) as fake:
        yield fake


@pytest.fixture
def client(fake: FakeProxy) -> Iterator[ProxyClient]:
    client = ProxyClient(ServerSettings(name="default", url=fake.url, token=fake.token))
    yield client
    client.close()


def pending(**fields: Any) -> dict[str, Any]:
    return message("m", deferred_ts=int(time.time()) + 3600, **fields)


def test_a_pending_mail_is_not_submitted_with_another_account(fake: FakeProxy, client: ProxyClient) -> None:
    assert client.submit([pending()]).accepted == ("m",)
    again = pending(account_id="another")
    held = held_before(client, [again], {"m": fake.account_id})
    # 0.5.0 refuses it, and keeps what is pending as it is.
    assert held.accepted == (() if fake.profile == "commands-0.5" else ("m",))


def test_one_that_the_proxy_does_not_have_is_submitted_with_the_account_of_today(
    fake: FakeProxy, client: ProxyClient
) -> None:
    held = held_before(client, [pending(account_id="another")], {"m": fake.account_id})
    assert (held.accepted, dict(held.rejected), dict(held.unsettled)) == ((), {}, {})


def test_the_same_account_is_no_reason_to_ask(fake: FakeProxy, client: ProxyClient) -> None:
    client.submit([pending()])
    asked = len(fake.requests)
    held = held_before(client, [pending()], {"m": fake.account_id})
    # 0.7.0 would send it twice if it met the sending.
    is_asked = fake.profile == "entities"
    assert (held.accepted, len(fake.requests) - asked) == (("m",), 1) if is_asked else ((), 0)


def test_one_that_was_never_submitted_is_not_asked_for(fake: FakeProxy, client: ProxyClient) -> None:
    client.submit([pending()])
    asked = len(fake.requests)
    assert held_before(client, [pending(account_id="another")], {}).accepted == ()
    assert len(fake.requests) == asked
