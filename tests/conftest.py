"""Servers that tests share: one of each per session (with pytest-xdist: per worker), on free ports.

A service that is not installed skips its tests and says so in the summary; where CI=true it fails them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hypothesis
import pytest

from celery_mailproxy.testing import MailSink, RealProxy

from .harness.imap_server import ImapServer
from .harness.proxy_tenant import ProxyTenant
from .harness.report_sink import ReportSink
from .harness.services import RabbitServer, RedisServer, ServiceMissing
from .harness.suite.full import is_full
from .harness.suite.shared_rabbit import rabbit_node

# One place for what tests install, also for the processes they start and wherever pytest is called from.
os.environ.setdefault("CELERY_MAILPROXY_CACHE", str(Path(__file__).parents[1] / ".cache" / "proxies"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also what is marked as `full`: what `make test` leaves out")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of Django to a run of their own (`--ds`, see the Makefile)."""
    is_djangos = collection_path == Path(__file__).parent / "django"
    return True if is_djangos and not config.getoption("ds", None) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=_seconds, reverse=True)
    if config.getoption("full"):
        return
    config.hook.pytest_deselected(items=[item for item in items if is_full(item)])
    items[:] = [item for item in items if not is_full(item)]


def _seconds(item: pytest.Item) -> int:
    """How long its file takes, where it says so."""
    mark = item.get_closest_marker("long")
    return int(mark.args[0]) if mark else 0


def pytest_report_header(config: pytest.Config) -> list[str]:
    left_out = [] if config.getoption("full") else ["without what is marked as full: add --full to run it"]
    if not config.getoption("ds", None):
        left_out.append("without tests/django: add --ds tests.django.settings to run them, and them alone")
    return left_out


# A loaded machine is no finding. Under CI every run tries the same examples; elsewhere each run tries new ones.
hypothesis.settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=os.environ.get("CI", "").lower() in ("1", "true"),
)
hypothesis.settings.load_profile("suite")


@contextmanager
def required_under_ci() -> Iterator[None]:
    """A service that is missing skips the test, and fails it under CI."""
    try:
        yield
    except ServiceMissing as exc:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"required under CI: {exc}", pytrace=False)
        pytest.skip(str(exc))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis server. Tests share it: flush it, take another database, or make names unique."""
    with ExitStack() as stack:
        with required_under_ci():
            server = stack.enter_context(RedisServer())
        yield server


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[RabbitServer]:
    """A RabbitMQ node. All tests share it: make queue names unique."""
    with ExitStack() as stack:
        with required_under_ci():
            server = stack.enter_context(rabbit_node())
        yield server


@pytest.fixture(scope="module")
def imap_server() -> Iterator[ImapServer]:
    """An IMAP server of the module's. Its tests share it: make folder names unique."""
    with ExitStack() as stack:
        with required_under_ci():
            server = stack.enter_context(ImapServer())
        yield server


@pytest.fixture
def mail_sink() -> Iterator[MailSink]:
    """An SMTP server of this test's own."""
    with MailSink() as sink:
        yield sink


@pytest.fixture
def report_sink() -> Iterator[ReportSink]:
    """An HTTP server of this test's own that keeps the delivery reports it gets."""
    with ReportSink() as sink:
        yield sink


# A module's: one that nobody uses goes on looking for work twice a second, and starting one costs less.
@pytest.fixture(scope="module", params=["commands", "entities"])
def real_proxy(request: pytest.FixtureRequest) -> Iterator[RealProxy]:
    """The real genro-mail-proxy, once for each API. Tests share it; one that kills it starts its own `RealProxy`."""
    with RealProxy(request.param) as proxy:
        yield proxy


@pytest.fixture
def tenant(real_proxy: RealProxy, mail_sink: MailSink) -> Iterator[ProxyTenant]:
    """A tenant of the real proxy with ids of its own, whose account sends to `mail_sink`; its reports are kept.

    `tenant.add(url)` makes them go to that URL.
    """
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port).add()
    yield tenant
    # Else each of the proxy's later cycles would call a server that is gone.
    tenant.add(None, active=False)
