"""The URL chooses the store."""

from __future__ import annotations

import sys

import pytest

from celery_mailproxy.deliveries import stores
from celery_mailproxy.deliveries.stores import Retention, open_store
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.stores.redis.store import RedisStore
from celery_mailproxy.deliveries.stores.sqlite.store import SQLiteStore
from celery_mailproxy.errors import ConfigurationError, StoreError


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


def test_a_redis_that_is_away_is_named_with_what_to_do() -> None:
    store = open_store("redis://:s3cret@127.0.0.1:9/0", retention=Retention())
    with pytest.raises(StoreError, match=r"Start that Redis, or correct mail_proxy_store$") as caught:
        store.get("m")
    assert "s3cret" not in str(caught.value)
    store.close()


@pytest.mark.parametrize("scheme", ["redis", "rediss+cluster", "unix"])
def test_a_missing_client_is_named_with_the_extra_that_has_it(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery_mailproxy.deliveries.stores.redis.store", None)
    with pytest.raises(ConfigurationError, match=r'pip install "celery-mailproxy\[redis\]"'):
        open_store(f"{scheme}://host", retention=Retention())
