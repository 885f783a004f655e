"""The proxy that a migrated task moves to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_mailproxy.testing import FakeProxy


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    """It reports nothing by itself."""
    with FakeProxy("entities", reports=False) as proxy:
        yield proxy
