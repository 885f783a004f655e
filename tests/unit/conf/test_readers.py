"""What reading a setting's text depends on."""

from __future__ import annotations

import json

import pytest

from celery_mailproxy.conf.readers import callable_or_path


@pytest.mark.parametrize("path", ["json:dumps", "json.dumps"])
def test_celery_still_imports_a_name_by_either_kind_of_path(path: str) -> None:
    """`symbol_by_name` is kombu's, and public in neither."""
    assert callable_or_path("mail_proxy_next_sync_after", path) is json.dumps
