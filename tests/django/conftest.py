"""Tests of `celery_mailproxy.django`, in a process of their own: with Django configured, settings come from it, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import required_under_ci
from tests.harness.databases import MariaServer, PostgresServer


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("ds", None) is None:
        raise pytest.UsageError("these tests need: pytest tests/django --ds tests.django.settings")


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this module's own."""
    server = PostgresServer()
    try:
        with required_under_ci():
            server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def maria_server() -> Iterator[MariaServer]:
    """A MariaDB server of this module's own."""
    server = MariaServer()
    try:
        with required_under_ci():
            server.start()
        yield server
    finally:
        server.close()
