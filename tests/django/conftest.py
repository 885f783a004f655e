"""Tests of `celery_mailproxy.django`, in a process of their own: with Django configured, settings come from it, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_mailproxy.testing import FakeProxy
from tests.conftest import required_under_ci
from tests.django.harness.publishing_app import Published, published
from tests.harness.databases import MariaServer, PostgresServer


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("ds", None) is None:
        raise pytest.UsageError("these tests need: pytest tests/django --ds tests.django.settings")


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    """A proxy that reports nothing by itself."""
    with FakeProxy("entities", reports=False) as proxy:
        yield proxy


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """Where the project keeps large mails."""
    settings.STORAGES = {
        **settings.STORAGES,
        "mail_proxy": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": tmp_path}},
    }
    return tmp_path


@pytest.fixture
def tasks(transactional_db: None, folder: Path) -> Iterator[list[Published]]:
    """What is published, with the log of emails in the database, and what is large in `folder`."""
    with published(mail_proxy_store="django://", mail_proxy_attachment_inline_bytes=1000) as tasks:
        yield tasks


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
