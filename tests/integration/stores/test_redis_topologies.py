"""The Redis store where Redis is restarted, forgets its scripts, hangs, is a cluster, or is found through sentinels."""

from __future__ import annotations

import contextlib
import gc
import socket
import traceback
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import pytest

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.recording import Dispatched, Verdict
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.sought_address import SoughtAddress
from celery_mailproxy.deliveries.stores import DeliveryStore, Retention, open_store
from celery_mailproxy.deliveries.stores.base import Recording
from celery_mailproxy.deliveries.stores.outbox import OutboxEntry
from celery_mailproxy.deliveries.stores.redis.store import RedisStore
from celery_mailproxy.deliveries.suppression import Cause, SuppressedAddress
from celery_mailproxy.deliveries.suspension import Suspension
from celery_mailproxy.errors import ConfigurationError, StoreError
from celery_mailproxy.testing.ports import free_port
from tests.contract.store_values import START, delivery, new_id, report
from tests.harness.services import RedisCluster, RedisSentinel, RedisServer

pytestmark = pytest.mark.integration


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def sentinel() -> Iterator[RedisSentinel]:
    with RedisSentinel() as server:
        yield server


def go_through_all(store: DeliveryStore) -> None:
    """Each method once, over keys of many slots."""
    ids = [new_id() for _ in range(60)]
    assert store.check()
    assert store.server_time() is not None
    outbox = store.outbox
    outbox.put([OutboxEntry(task_id=each, content="{}", due_at=START) for each in ids])
    entries = outbox.due(now=START, limit=100)
    noted = [outbox.republish(each, due_at=START + timedelta(hours=1)) for each in entries]
    assert [outbox.republish(each, due_at=START) for each in entries] == [None] * len(ids)
    outbox.reschedule([each for each in noted if each is not None], due_at=START)
    assert {each.copies for each in outbox.due(now=START, limit=100)} == {1}
    outbox.drop(ids)
    entries_of_list = [SuppressedAddress(address=f"{each}@x.example", cause=Cause.ADDED, at=START) for each in ids]
    assert store.suppression.add(entries_of_list) == len(ids)
    assert len(store.suppression.find([each.address for each in entries_of_list])) == len(ids)
    assert sum(map(len, store.suppression.pages())) == len(ids)
    assert store.suppression.remove([each.address for each in entries_of_list]) == len(ids)
    assert store.register([delivery(each) for each in ids]) == [delivery(each) for each in ids]
    assert {a.verdict for a in store.record([report(each) for each in ids], claim="task-1")} == {Verdict.NEW}
    assert {a.verdict for a in store.record([report(each) for each in ids], claim="task-2")} == {Verdict.HELD}
    store.mark_dispatched([Dispatched(message_id=each, key=report(each).key, failed=("x",)) for each in ids[:5]])
    assert set(store.failed()) == set(ids[:5])
    store.mark_dispatched([Dispatched(message_id=each, key=report(each).key) for each in ids])
    assert store.failed() == []
    others = [new_id() for _ in range(60)]
    store.register([delivery(each) for each in others])
    store.record([report(each, Kind.QUEUED) for each in others], claim="task-1", how=Recording(is_settled=True))
    later = store.clock() + timedelta(days=1)
    assert {each.message_id for each in store.due(now=later, limit=1000)} >= {*others}
    store.put_off(others[:30], until=later + timedelta(days=1))
    assert {*others[:30], *ids}.isdisjoint(each.message_id for each in store.due(now=store.clock(), limit=1000))
    assert {each.message_id for page in store.pages() for each in page} >= {*ids, *others}
    (orphan,) = store.record([report(new_id(), Kind.DEFERRED)], claim="task-1", how=Recording(adopt=True))
    assert orphan.delivery is not None
    assert not orphan.delivery.is_known
    for message_id in ids:
        found = store.get(message_id)
        assert found is not None
        assert found.status is Status.SENT
    bounces = [report(each, Kind.BOUNCED, second=9, reason="550 ann@example.com") for each in ids]
    store.record(bounces, claim="task-1", how=Recording(is_settled=True))
    pages = list(store.erase(SoughtAddress(address="ann@example.com")))
    assert sorted(each for page in pages for each in page.changed) == sorted(ids)
    assert [each.kept for each in pages if each.kept] == []


def test_server_that_was_restarted_is_found_again(own_server: RedisServer) -> None:
    store = open_store(own_server.url, retention=Retention())
    go_through_all(store)
    kept = new_id()
    store.register([delivery(kept)])
    own_server.kill()
    with pytest.raises(StoreError, match="cannot be used: ConnectionError"):
        store.get(kept)
    own_server.start()
    # Neither the connections nor the scripts are there any more.
    assert [answer.verdict for answer in store.record([report(kept)], claim="task-1")] == [Verdict.NEW]
    go_through_all(store)
    store.close()


def test_erasing_from_a_server_that_goes_away_is_an_error_and_can_be_begun_again(own_server: RedisServer) -> None:
    store = RedisStore(own_server.url, Retention())
    store.register([delivery(new_id(), status=Status.SENT, summary={"subject": "ann@example.com"}) for _ in range(600)])
    sought = SoughtAddress(address="ann@example.com")
    pages = store.erase(sought)
    assert len(next(pages).changed) == 200
    own_server.kill()
    with pytest.raises(StoreError, match="cannot be used: ConnectionError"):
        list(pages)
    own_server.start()
    store.register([delivery("m", status=Status.SENT, summary={"subject": "ann@example.com"})])
    assert "m" in [each for page in store.erase(sought) for each in page.changed]
    assert [each for page in store.erase(sought) for each in page.changed] == []
    store.close()


def test_forgotten_scripts_are_sent_again(own_server: RedisServer) -> None:
    store = open_store(own_server.url, retention=Retention())
    go_through_all(store)
    with own_server.client() as client:
        client.script_flush()
        go_through_all(store)
        evals = client.info("commandstats")["cmdstat_eval"]["calls"]
        go_through_all(store)
        # EVAL with the whole text only once after each loss.
        assert client.info("commandstats")["cmdstat_eval"]["calls"] == evals
    store.close()


def test_call_is_one_round_trip(own_server: RedisServer) -> None:
    store = open_store(own_server.url, retention=Retention())
    go_through_all(store)
    ids = [new_id() for _ in range(100)]
    with own_server.client() as client:
        before = client.info()["total_reads_processed"]
        store.register([delivery(each) for each in ids])
        store.record([report(each) for each in ids], claim="task-1")
        store.mark_dispatched([Dispatched(message_id=each, key=report(each).key) for each in ids])
        # A batch of 40 kB may reach the server in a few pieces; a hundred round trips each would be 300.
        assert client.info()["total_reads_processed"] - before < 30
    store.close()


def test_the_message_of_a_suspended_result_survives_every_transition(own_server: RedisServer) -> None:
    message = '{"state":"waiting","n":1e99,"empty":[],"last":"\\\\ \\" é"}'
    store = RedisStore(own_server.url, Retention())
    suspension = Suspension(owner="task-1", since=report("m").at, message=message)
    store.register([delivery("m", summary={"subject": "s"}, suspension=suspension)])
    store.record([report("m", Kind.DEFERRED)], claim="task-1")
    store.record([report("m", Kind.SENT, 1), report("m", Kind.DEFERRED, 2)], claim="task-1")
    store.mark_dispatched([Dispatched(message_id="m", key=report("m", Kind.SENT, 1).key, failed=("x",))])
    with own_server.client() as client:
        assert client.get(store._key("m")).endswith(b"\n" + message.encode())
    found = store.get("m")
    assert found is not None
    assert found.suspension is not None
    assert (found.status, found.summary, found.suspension.message) == (Status.SENT, {"subject": "s"}, message)
    store.close()


def test_a_damaged_record_is_named_and_left_as_it_is(own_server: RedisServer) -> None:
    store = RedisStore(own_server.url, Retention())
    with own_server.client() as client:
        client.set(store._key("m"), "nonsense")
    with pytest.raises(StoreError, match="'m' is damaged"):
        store.get("m")
    (recorded,) = store.record([report("m")], claim="run-1")
    assert recorded.verdict is Verdict.DAMAGED
    with pytest.raises(StoreError, match="'m' is damaged"):
        store.register([delivery("m")])
    store.mark_dispatched([Dispatched(message_id="m", key="k")])
    with own_server.client() as client:
        assert client.get(store._key("m")) == b"nonsense"
    store.close()


def test_cluster(cluster: RedisCluster) -> None:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    store = open_store(f"redis+cluster://{hosts}", retention=Retention())
    go_through_all(store)
    for node in cluster.nodes:
        with node.client() as client:
            client.script_flush()
            assert client.dbsize() > 0
    go_through_all(store)
    store.close()
    go_through_all(store)
    store.close()


def test_sentinel(sentinel: RedisSentinel) -> None:
    url = f"sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/{sentinel.service_name}?db=3"
    store = open_store(url, retention=Retention())
    go_through_all(store)
    with sentinel.master.client(3) as client:
        assert client.dbsize() > 0
    store.close()


def test_sentinels_that_do_not_know_the_master(sentinel: RedisSentinel) -> None:
    store = open_store(f"sentinel://127.0.0.1:{sentinel.port}/nobody", retention=Retention())
    with pytest.raises(StoreError, match="nobody"):
        store.check()
    store.close()


def test_password_is_used_and_never_shown(own_server: RedisServer) -> None:
    with own_server.client() as client:
        client.config_set("requirepass", "s3:cr@t/")
    place = f"127.0.0.1:{own_server.port}"
    store = open_store(f"redis://:{quote('s3:cr@t/', safe='')}@{place}", retention=Retention())
    go_through_all(store)
    assert "cr" not in store.check() + repr(store)
    store.close()
    wrong = open_store(f"redis://:wr0ng@{place}", retention=Retention())
    with pytest.raises(StoreError, match="AuthenticationError") as caught:
        wrong.check()
    assert "wr0ng" not in str(caught.value)
    wrong.close()


def test_unix_socket() -> None:
    with RedisServer(options={"unixsocket": "redis.sock"}) as server:
        store = open_store(f"unix://{server.folder}/redis.sock?db=2", retention=Retention())
        go_through_all(store)
        store.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret@127.0.0.1:{port}/0",
        "redis://:s3cret@127.0.0.1:{port}",
        "redis+cluster://user:s3cret@127.0.0.1:{port}",
        "sentinel://user:s3cret@127.0.0.1:{port}/mymaster?sentinel_password=s3cret",
        "unix://:s3cret@/nowhere/redis.sock",
    ],
)
# redis-py 4 leaves a Unix socket open that it could not connect.
@pytest.mark.filterwarnings("ignore:.*AF_UNIX:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*AF_UNIX:ResourceWarning")
def test_no_server_is_a_store_error_without_the_password(url: str) -> None:
    store = open_store(url.format(port=free_port()), retention=Retention())
    with pytest.raises(StoreError) as caught:
        store.get("m")
    logged = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in logged + repr(store)
    assert "***" in str(caught.value)
    store.close()
    del caught
    gc.collect()


def _callers(server: socket.socket) -> int:
    """How many have connected to a server that accepts nobody."""
    server.setblocking(False)
    number = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            number += 1
    return number


def test_server_that_hangs_is_a_store_error_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = open_store(f"redis://127.0.0.1:{silent.getsockname()[1]}?socket_timeout=0.3", retention=Retention())
        with pytest.raises(StoreError, match=r"TimeoutError"):
            store.get("m")
        store.close()
        # Each try waits for the time-out.
        assert 1 <= _callers(silent) <= 3


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@host:port",
        "redis://:s3cret@host?no_such_option=1",
        "sentinel://:s3cret@host",
        "sentinel://:s3cret@host/m?no_such_option=1",
        "sentinel://:s3cret@host/m?db=x",
        "sentinel://:s3cret@,/m",
        "redis+cluster://:s3cret@:1",
    ],
)
def test_url_that_makes_no_sense_is_a_configuration_error(url: str) -> None:
    store = open_store(url, retention=Retention())
    with pytest.raises(ConfigurationError) as caught:
        store.check()
    assert "s3cret" not in str(caught.value)
