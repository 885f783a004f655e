"""A password in a store's URL is never shown."""

from __future__ import annotations

import pytest

from celery_mailproxy.deliveries.stores import hide_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://u:p@h:1/0", "redis://u:***@h:1/0"),
        ("redis://:p@h", "redis://:***@h"),
        ("redis://u:p@ss@h", "redis://u:***@h"),
        ("redis://u:p/s@h", "redis://u:***@h"),
        ("redis://token@h", "redis://***@h"),
        ("redis://h?db=1&password=p&x=2", "redis://h?db=1&password=***&x=2"),
        ("sentinel://h/m?sentinel_password=p", "sentinel://h/m?sentinel_password=***"),
        ("sqlite:////var/lib/d.db", "sqlite:////var/lib/d.db"),
        ("foo", "foo"),
    ],
)
def test_password_is_hidden(url: str, shown: str) -> None:
    assert hide_password(url) == shown
