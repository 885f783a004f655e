"""The store and the models on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.django.harness.other_database import assert_store_and_models_hold
from tests.harness.databases import PostgresServer


@pytest.mark.full
@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_store_and_models_hold(postgres_server: PostgresServer) -> None:
    assert_store_and_models_hold(postgres_server)
