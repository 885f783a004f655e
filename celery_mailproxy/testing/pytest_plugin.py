"""Fixtures for the users' own tests. pytest finds them by itself where celery-mailproxy is installed.

It is loaded in every project that has celery-mailproxy, whether it uses the fixtures or not: so it imports nothing
but pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from typing import Literal

    from celery_mailproxy.testing.fake_proxy import FakeProxy


@pytest.fixture
def mail_proxy() -> Iterator[FakeProxy]:
    """A running `celery_mailproxy.testing.FakeProxy` like genro-mail-proxy 0.7.0.

    `mail_proxy.url` and `mail_proxy.token` are what the settings need, with `mail_proxy.tenant_id` and
    `mail_proxy.account_id`; `mail_proxy.received` is what was submitted.
    """
    yield from _running("entities")


@pytest.fixture
def mail_proxy_commands() -> Iterator[FakeProxy]:
    """The same, like genro-mail-proxy 0.5.0."""
    yield from _running("commands")


def _running(api: Literal["entities", "commands"]) -> Iterator[FakeProxy]:
    # Not at the top: a project that does not use the fixtures is not to pay for httpx.
    from celery_mailproxy.testing.fake_proxy import FakeProxy

    with FakeProxy(api) as proxy:
        yield proxy
