"""A worker for each combination of broker and result backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import celery
import pytest

from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import deferred, error, sent

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from .canvas import Canvas

#: Celery delays natively from 5.5 on.
collect_ignore = [] if celery.VERSION >= (5, 5) else ["test_native_delay.py"]

_BROKERS = {"redis": "redis_server", "rabbitmq": "rabbit_server"}

#: The pair with which everything is tested in every run; with the others, what may differ there.
_EVERYTHING = ("redis", "redis")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        module = getattr(item, "module", None)
        pair = (getattr(module, "BROKER", None), getattr(module, "BACKEND", None))
        if pair == _EVERYTHING:
            item.add_marker(pytest.mark.long(120))
        elif None not in pair and not item.get_closest_marker("smoke"):
            item.add_marker("full")


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    """What becomes of a mail is said by whom it is to; the others are sent at once."""
    with FakeProxy("entities") as proxy:
        proxy.plan("slow@example.com", sent(delay_seconds=0.4))
        proxy.plan("bad@example.com", error("550 5.1.1 <bad@example.com> unknown", delay_seconds=0.1))
        proxy.plan("late@example.com", deferred(delay_seconds=0.2), sent(delay_seconds=0.6))
        proxy.plan("silent@example.com")
        yield proxy


@pytest.fixture(scope="module")
def canvas(
    request: pytest.FixtureRequest, proxy: FakeProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Canvas]:
    broker, backend = request.module.BROKER, request.module.BACKEND
    tenant = ProxyTenant(proxy=proxy)
    conf: dict[str, Any] = {
        "result_backend": _backend_url(backend, request, tmp_path_factory),
        "result_chord_retry_interval": 0.2,
        "result_extended": True,
        "mail_proxy_chunk_size": 20,
        "mail_proxy_servers": {"nowhere": {"url": "http://127.0.0.1:9"}},
    }
    url = request.getfixturevalue(_BROKERS[broker]).url
    # One process for each mail that is held at a point where its worker is killed, and one that goes on.
    options = ("-E", "--concurrency", "6")
    with (
        Relay(proxy.url) as relay,
        MailStack(tenant, broker_url=url, proxy_url=relay.url, conf=conf, options=options) as stack,
    ):
        canvas = Canvas(stack, relay=relay, backend=backend)
        yield canvas
        canvas.assert_all_ran()


def _backend_url(kind: str, request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> str | None:
    if kind == "redis":
        return str(request.getfixturevalue("redis_server").url_of(5))
    return {
        "rpc": "rpc://",
        "sqlalchemy": f"db+sqlite:///{folders.mktemp('results')}/results.sqlite3",
        "none": None,
    }[kind]
