"""The URL chooses the store, and a password in it is never shown."""

from __future__ import annotations

import pytest

from celery_mailproxy.deliveries import stores
from celery_mailproxy.deliveries.stores import Retention, hide_password, open_store
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.stores.redis.store import RedisStore
from celery_mailproxy.deliveries.stores.sqlite.store import SQLiteStore
from celery_mailproxy.errors import ConfigurationError
from tests.contract.store_values import delivery, new_id


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


def test_memory_is_shared_by_name() -> None:
    name = new_id()
    one, same, other = (open_store(f"memory://{n}", retention=Retention()) for n in (name, name, f"{name}x"))
    one.register([delivery("m")])
    assert same.get("m") == delivery("m")
    assert other.get("m") is None


def test_memory_without_a_name_is_shared_by_url_and_cleared_for_tests() -> None:
    one, same = (open_store("memory://", retention=Retention()) for _ in range(2))
    one.register([delivery("m")])
    assert same.get("m") == delivery("m")
    assert MemoryStore(Retention()).get("m") is None
    assert isinstance(one, MemoryStore)
    one.clear()
    assert same.get("m") is None
