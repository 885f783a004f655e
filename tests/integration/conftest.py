"""Brokers, relays and SMTP servers for several files. A module says by a fixture `proxy` which proxy it is about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import pytest

from celery_mailproxy.testing import FakeProxy, MailSink, RealProxy
from celery_mailproxy.testing.proxy_install import install_proxy

from ..harness.proxy_builder import ProxyBuilder
from ..harness.relay import Relay
from ..harness.services import RabbitServer, RedisServer

Broker = RedisServer | RabbitServer


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker, one after the other. The test does not stop it."""
    server: Broker = request.getfixturevalue({"redis": "redis_server", "rabbitmq": "rabbit_server"}[request.param])
    return server


@pytest.fixture(scope="module")
def sink() -> Iterator[MailSink]:
    """An SMTP server of the module's, for a stack that its tests share."""
    with MailSink() as sink:
        yield sink


@pytest.fixture(scope="module")
def relay(proxy: FakeProxy | RealProxy) -> Iterator[Relay]:
    """Between the workers and the module's proxy."""
    with Relay(proxy.url) as relay:
        yield relay


@pytest.fixture(scope="module", params=["commands", "entities"])
def builder(request: pytest.FixtureRequest) -> Iterator[ProxyBuilder]:
    """The message builder of each of the real proxies, one after the other."""
    installed = install_proxy(cast(Literal["commands", "entities"], request.param))
    with ProxyBuilder(request.param, python=installed.python, sys_path=installed.python_path) as running:
        yield running
