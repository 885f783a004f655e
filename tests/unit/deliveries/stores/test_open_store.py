"""The URL chooses the store."""

from __future__ import annotations

import pytest

from celery_mailproxy.deliveries import stores
from celery_mailproxy.deliveries.stores import Retention, open_store
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.stores.redis.store import RedisStore
from celery_mailproxy.deliveries.stores.sqlite.store import SQLiteStore
from celery_mailproxy.errors import ConfigurationError


def test_public_names_are_sorted() -> None:
    assert stores.__all__ == sorted(stores.__all__)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryStore),
        ("sqlite:///d.db", SQLiteStore),
        ("sqlite:////tmp/d.db", SQLiteStore),
        ("redis://localhost", RedisStore),
        ("rediss://localhost", RedisStore),
        ("unix:///run/redis.sock", RedisStore),
        ("sentinel://one,two/mymaster", RedisStore),
        ("redis+cluster://one,two", RedisStore),
    ],
)
def test_url_chooses_the_store_and_nothing_is_connected_yet(url: str, kind: type) -> None:
    assert type(open_store(url, retention=Retention())) is kind


@pytest.mark.parametrize("url", ["foo", "foo://x", "", "sqlite:/d.db", "SQLITE:///d.db", "postgres://u@h/d"])
def test_unknown_scheme_says_what_there_is(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store must be redis://, sqlite://, django:// or memory://, got '"):
        open_store(url, retention=Retention())


@pytest.mark.parametrize("url", ["foo://u:s3cret@h", "u:s3cret@h/0", "foo://:s3c/ret@h", "foo://h?password=s3cret"])
def test_unknown_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url, retention=Retention())
    assert "s3c" not in str(caught.value)
