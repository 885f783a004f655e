"""Who looks at the admin, and a shop whose mails it shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery
from django.test import Client

from celery_mailproxy.testing import FakeProxy
from tests.django.harness.admin_pages import client_of
from tests.django.harness.default_app import default_app
from tests.harness.proxy_conf import proxy_conf


@pytest.fixture
def viewer() -> Client:
    return client_of("view_emaillog")


@pytest.fixture
def clerk() -> Client:
    return client_of("view_emaillog", "change_emaillog")


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        yield proxy


@pytest.fixture
def shop(proxy: FakeProxy) -> Iterator[Celery]:
    """An app whose tasks run at once."""
    with default_app(
        task_always_eager=True,
        **proxy_conf(proxy),
        mail_proxy_log_content=True,
    ) as app:
        yield app
