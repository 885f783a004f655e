"""A receiver, and what it accepted."""

from __future__ import annotations

import pytest

from celery_mailproxy.receiver.receiver import ReportReceiver
from celery_mailproxy.receiver.resolvers import ResolverRegistry

from .kept import Kept


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def registry() -> ResolverRegistry:
    """The resolvers of this test's receiver alone."""
    return ResolverRegistry()


@pytest.fixture
def receiver(kept: Kept, registry: ResolverRegistry) -> ReportReceiver:
    """It takes the token `secret`, and bodies of 10,000 bytes."""
    return ReportReceiver(accept=kept, tokens={None: ("secret",)}, max_report_bytes=10_000, resolvers=registry)
