"""Stores in this process's memory, shared by name."""

from __future__ import annotations

from celery_mailproxy.deliveries.stores import Retention, open_store
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from tests.contract.store_values import delivery, new_id


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
