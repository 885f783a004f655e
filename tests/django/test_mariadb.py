"""The store and the models on MariaDB."""

from __future__ import annotations

import pytest

from tests.harness.databases import MariaServer

from .other_database import assert_store_and_models_hold


@pytest.mark.full
@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_store_and_models_hold(maria_server: MariaServer) -> None:
    assert_store_and_models_hold(maria_server)
