"""An app's producers: confirmed for an AMQP broker, and the app's own where it publishes by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError

from celery_mailproxy.broker.confirming import ConfirmingProducer
from celery_mailproxy.broker.producers import Producers, _naming_size
from celery_mailproxy.errors import MessageTooLarge
from celery_mailproxy.runtime import forget_runtime, get_runtime

AMQP = "amqp://guest:guest@127.0.0.1:9//"


def app_of(broker: str, **conf: Any) -> Celery:
    app = Celery("producers", broker=broker, set_as_current=False)
    app.conf.update(mail_proxy_url="http://127.0.0.1:9", mail_proxy_store="memory://", **conf)
    return app


@pytest.fixture
def app() -> Iterator[Celery]:
    """Nothing listens at its broker's port: what is tested here connects to none."""
    app = app_of(AMQP)
    yield app
    forget_runtime(app)


def test_the_apps_own_pool_is_replaced_by_one_that_confirms(app: Celery) -> None:
    before = app.amqp.producer_pool
    get_runtime(app).producers.confirm_all()
    pool = app.amqp.producer_pool
    assert pool is not before
    assert pool.connections.connection.transport_options["confirm_publish"] is True
    get_runtime(app).producers.confirm_all()
    assert app.amqp.producer_pool is pool


def test_the_connections_of_a_worker_for_itself_are_left_as_they_are(app: Celery) -> None:
    """Its event loop would wait for each event."""
    get_runtime(app).producers.confirm_all()
    assert "confirm_publish" not in app.connection_for_read().transport_options
    assert "confirm_publish" not in app.connection_for_write().transport_options


def test_what_was_replaced_is_given_back_at_the_end(app: Celery) -> None:
    get_runtime(app).producers.confirm_all()
    pool = app.amqp.producer_pool
    forget_runtime(app)
    assert app.amqp.producer_pool is not pool


def test_a_fork_takes_a_pool_of_its_own(app: Celery) -> None:
    get_runtime(app).producers.confirm_all()
    pool = app.amqp.producer_pool
    pid = os.fork()
    if pid == 0:
        get_runtime(app).producers.confirm_all()
        os._exit(0 if app.amqp.producer_pool is not pool else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize(("broker", "conf"), [("memory://", {}), (AMQP, {"task_always_eager": True})])
def test_without_an_amqp_broker_nothing_is_replaced(broker: str, conf: dict[str, Any]) -> None:
    app = app_of(broker, **conf)
    before = app.amqp.producer_pool
    get_runtime(app).producers.confirm_all()
    assert app.amqp.producer_pool is before
    with get_runtime(app).producers.confirmed({"countdown": 1}) as options:
        assert options == {"countdown": 1}
    forget_runtime(app)


def test_a_producer_of_the_apps_own_gives_way_to_one_that_confirms(app: Celery) -> None:
    producers = Producers(app)
    with app.producer_or_acquire() as own, producers.confirmed({"producer": own, "priority": 3}) as options:
        assert isinstance(options["producer"], ConfirmingProducer)
        assert options["priority"] == 3
        with producers.confirmed(options) as again:
            assert again["producer"] is options["producer"]
    producers.close()


def test_a_connection_to_the_same_broker_gives_way_too(app: Celery) -> None:
    producers = Producers(app)
    with producers.confirmed({"connection": Connection(AMQP)}) as options:
        assert options.keys() == {"producer"}
    producers.close()


def test_a_producer_for_another_broker_is_used(app: Celery) -> None:
    producers = Producers(app)
    with Connection("amqp://guest:guest@127.0.0.1:10//") as elsewhere:
        producer = elsewhere.Producer(auto_declare=False)
        with producers.confirmed({"producer": producer}) as options:
            assert options["producer"] is producer
    producers.close()


def test_a_failover_is_no_other_broker() -> None:
    app = app_of(f"{AMQP};amqp://guest:guest@127.0.0.1:10//")
    producers = Producers(app)
    with app.producer_or_acquire() as own:
        own.connection.maybe_switch_next()
        with producers.confirmed({"producer": own}) as options:
            assert isinstance(options["producer"], ConfirmingProducer)
    producers.close()


def test_more_publications_at_once_than_connections_are_an_error_of_the_broker(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.conf.broker_pool_limit = 1
    monkeypatch.setattr("celery_mailproxy.broker.producers._ACQUIRE_SECONDS", 0.01)
    producers = Producers(app)
    with (
        producers.acquire(),
        producers.acquire(),
        pytest.raises(OperationalError, match="broker_pool_limit"),
        producers.acquire(),
    ):
        pass
    producers.close()


@pytest.mark.parametrize("word", ["", "configured "])
def test_a_message_above_rabbitmqs_limit_is_named_with_its_size(word: str) -> None:
    said = f"Basic.publish: (406) PRECONDITION_FAILED - message size 2000 is larger than {word}max size 1000"
    with pytest.raises(MessageTooLarge) as raised, _naming_size():
        raise RuntimeError(said)
    assert (raised.value.size_bytes, raised.value.limit_bytes) == (2000, 1000)
    assert "2,000 bytes" in str(raised.value)


def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="other"), _naming_size():
        raise RuntimeError("other")
