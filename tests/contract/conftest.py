"""One fixture, every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_mailproxy.deliveries.stores import DeliveryStore, Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.stores.redis.store import RedisStore
from celery_mailproxy.deliveries.stores.sqlite.store import SQLiteStore

from .store_values import RETENTION, Clock, MakeStore, new_id


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[MakeStore]:
    """Opens one more store on the deliveries of this test."""
    name = new_id()
    opened: list[DeliveryStore] = []

    def make(retention: Retention = RETENTION) -> DeliveryStore:
        store: DeliveryStore
        if request.param == "memory":
            store = MemoryStore(retention, clock=clock, name=name)
        elif request.param == "sqlite":
            store = SQLiteStore(tmp_path / "deliveries.db", retention, clock=clock, synchronous="normal")
        else:
            url = request.getfixturevalue("redis_server").url
            store = RedisStore(url, retention, clock=clock, key_prefix=f"{name}:")
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> DeliveryStore:
    return make_store()
