"""One fixture, every store; and what the tests of a `proxy` need beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from celery_mailproxy.deliveries.stores import DeliveryStore, Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.stores.redis.store import RedisStore
from celery_mailproxy.deliveries.stores.sqlite.store import SQLiteStore
from celery_mailproxy.testing import MailSink

from ..harness.proxy_tenant import ProxyTenant
from ..harness.report_sink import ReportSink
from .proxies import AnyProxy
from .store_values import RETENTION, Clock, DamageStore, MakeStore, new_id


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


#: What a record in Redis may look like that cannot be read: nothing of a head, some of it, none of our types.
_BROKEN = (
    b"",
    b"{",
    b"5\nx",
    b"\xff\xfe\n{}",
    b'["queued","a",1,null,5]\n{}',
    b'["odd","a",1,null]\n{}',
    b'["new","a",1]\n{',
)


@pytest.fixture(params=["sqlite head", "sqlite static", "redis type", *range(len(_BROKEN))])
def damage_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[DamageStore]:
    """A store of each kind that can be damaged, in each way."""
    if str(request.param).startswith("sqlite"):
        sqlite_store = SQLiteStore(tmp_path / "deliveries.db", RETENTION, clock=clock, synchronous="normal")
        yield DamageStore(sqlite_store, partial(_damage_row, sqlite_store, request.param.partition(" ")[2]))
        sqlite_store.close()
        return
    server = request.getfixturevalue("redis_server")
    store = RedisStore(server.url, RETENTION, clock=clock, key_prefix=f"{new_id()}:")
    with server.client() as client:
        broken = None if request.param == "redis type" else _BROKEN[request.param]
        yield DamageStore(store, partial(_damage_key, client, store, broken))
    store.close()


def _damage_row(store: SQLiteStore, column: str, message_id: str) -> Callable[[], None]:
    def write(value: str) -> None:
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute(f"UPDATE deliveries SET {column} = ? WHERE message_id = ?", (value, message_id))

    with closing(sqlite3.connect(store.path)) as connection:
        query = f"SELECT {column} FROM deliveries WHERE message_id = ?"
        ((value,),) = connection.execute(query, (message_id,)).fetchall()
    write("{")
    return lambda: write(value)


def _damage_key(client: Any, store: RedisStore, broken: bytes | None, message_id: str) -> Callable[[], None]:
    key = store._key(message_id)
    value = client.get(key)
    client.delete(key)
    if broken is None:
        client.rpush(key, "x")
    else:
        client.set(key, broken)

    def fix() -> None:
        client.delete(key)
        client.set(key, value)

    return fix


@pytest.fixture
def tenant(proxy: AnyProxy, mail_sink: MailSink, report_sink: ReportSink) -> Iterator[ProxyTenant]:
    """A tenant whose reports go to `report_sink`."""
    tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
    yield tenant.add(report_sink.url)
    tenant.add(None, active=False)


@pytest.fixture
def anonymous(proxy: AnyProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url + proxy.base_path, trust_env=False) as client:
        yield client


@pytest.fixture
def admin(proxy: AnyProxy) -> Iterator[httpx.Client]:
    # A connection for each request: the real proxies close one behind their back after an unhandled error.
    headers = {"X-API-Token": proxy.token, "Connection": "close"}
    with httpx.Client(base_url=proxy.url + proxy.base_path, headers=headers, trust_env=False) as client:
        yield client
