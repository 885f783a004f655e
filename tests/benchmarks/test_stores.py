"""How fast the stores are, and what a delivery weighs: printed, and asserted as ratios taken in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, parse_entry, utcnow
from celery_mailproxy.deliveries.stores import DeliveryStore, Retention, open_store
from tests.contract.store_values import new_id

pytestmark = pytest.mark.benchmark

CHUNKS = (1, 100)
COUNT = 500
TURNS = 4

Speeds = dict[tuple[str, int], float]

#: How many times faster a report is recorded in a chunk of 100 than alone, at least: about half of the least measured.
RATIOS = {"memory": 0.3, "sqlite": 2.0, "sqlite, normal": 1.3, "redis": 1.5}


@pytest.fixture(params=["memory", "sqlite", "sqlite, normal", "redis"])
def named_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, DeliveryStore]]:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: f"memory://{new_id()}",
        "sqlite": lambda: f"sqlite:///{tmp_path}/d.db",
        "sqlite, normal": lambda: f"sqlite:///{tmp_path}/d.db?synchronous=normal",
        "redis": lambda: str(request.getfixturevalue("redis_server").url),
    }
    store = open_store(urls[request.param](), retention=Retention())
    yield request.param, store
    store.close()


def test_speed(named_store: tuple[str, DeliveryStore], capsys: pytest.CaptureFixture[str]) -> None:
    name, store = named_store
    store.check()
    speeds: Speeds = {}
    # The best of several turns, since other programs take their share of some of them.
    for chunk in CHUNKS * TURNS:
        for step, speed in measure(store, chunk=chunk).items():
            speeds[step] = max(speed, speeds.get(step, 0.0))
    steps = ("register", "record", "mark_dispatched")
    cells = [f"{step} {speeds[step, 1]:7,.0f} → {speeds[step, 100]:7,.0f}" for step in steps]
    with capsys.disabled():
        print(f"\n{name:15} per second, 1 → 100 a call: {', '.join(cells)}", end="")
    assert speeds["record", 100] > RATIOS[name] * speeds["record", 1]


def measure(store: DeliveryStore, *, chunk: int) -> Speeds:
    ids = [new_id() for _ in range(COUNT)]
    deliveries = [plain_delivery(each) for each in ids]
    reports = [sent_report(each) for each in ids]
    told = [Dispatched(message_id=each.message_id, key=each.key) for each in reports]
    return {
        ("register", chunk): rate(store.register, deliveries, chunk),
        ("record", chunk): rate(lambda part: store.record(part, claim=ids[0]), reports, chunk),
        ("mark_dispatched", chunk): rate(store.mark_dispatched, told, chunk),
    }


def rate(call: Callable[[list[Any]], Any], items: list[Any], chunk: int) -> float:
    started = time.perf_counter()
    for start in range(0, len(items), chunk):
        call(items[start : start + chunk])
    return len(items) / (time.perf_counter() - started)


def plain_delivery(message_id: str, **fields: Any) -> Delivery:
    return Delivery(message_id=message_id, created_at=utcnow(), updated_at=utcnow(), task_id=message_id, **fields)


def sent_report(message_id: str, **fields: Any) -> DeliveryReport:
    return parse_entry({"id": message_id, "sent_ts": int(time.time())}, **fields)[0]


def test_bytes_of_an_ended_delivery_in_redis(redis_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(redis_server.url, retention=Retention())
    summary = {"subject": "Your order 1234 is on its way", "recipients": 1}
    named: dict[str, Any] = {"account_id": "main", "tenant_id": "shop"}
    weights = {
        "plain": bytes_in_redis(redis_server, store),
        "with account and tenant": bytes_in_redis(redis_server, store, **named),
        "and a subject": bytes_in_redis(redis_server, store, **named, summary=summary),
    }
    store.close()
    with capsys.disabled():
        print("\nredis, bytes of an ended delivery:", ", ".join(f"{k} {v}" for k, v in weights.items()), end="")
    assert max(weights.values()) <= 400


def bytes_in_redis(redis_server: Any, store: DeliveryStore, **fields: Any) -> int:
    message_id = new_id()
    store.register([plain_delivery(message_id, **fields)])
    queued = DeliveryReport(kind=Kind.QUEUED, message_id=message_id, at=utcnow())
    store.record([queued], claim=message_id)
    store.record([sent_report(message_id)], claim=new_id())
    store.mark_dispatched([Dispatched(message_id=message_id, key=k.key) for k in (queued, sent_report(message_id))])
    with redis_server.client() as client:
        return int(client.memory_usage(f"celery-mailproxy:{{{message_id}}}"))
