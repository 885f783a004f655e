"""Canaries: what confirmed publication depends on in Celery, kombu and py-amqp is still there."""

from __future__ import annotations

import inspect
from typing import Any

from amqp import Connection as AMQPConnection  # type: ignore[import-untyped]
from amqp.channel import Channel  # type: ignore[import-untyped]
from celery import Celery
from kombu import Connection, Producer
from kombu.pools import ProducerPool


def test_celery_still_takes_its_producers_from_this_pool() -> None:
    """`broker/producers.py` replaces it."""
    app = Celery("canary", broker="amqp://", set_as_current=False)
    pool: Any = object()
    app.amqp._producer_pool = pool
    assert app.producer_pool is pool
    app._after_fork()
    assert app.amqp._producer_pool is None


def test_kombu_still_makes_a_pools_producers_of_a_given_class() -> None:
    """`broker/producers.py`."""
    connection = Connection("memory://")
    kind: Any = type("Own", (Producer,), {})
    pool: Any = ProducerPool(connections=connection.Pool(1), limit=1, Producer=kind)
    with pool.acquire() as producer:
        assert type(producer) is kind
        assert producer.__connection__ is not None
    pool.force_close_all()


def test_kombu_still_publishes_by_a_method_that_it_repeats() -> None:
    """`broker/confirming.py` bounds each try."""
    assert "_publish = self._publish" in inspect.getsource(Producer.publish)
    assert "ensure(self, _publish" in inspect.getsource(Producer.publish)


def test_kombu_still_connects_with_these_options() -> None:
    """`broker/confirming.py`."""
    names = {"max_retries", "interval_start", "interval_step", "interval_max", "reraise_as_library_errors"}
    assert names <= set(inspect.signature(Connection._ensure_connection).parameters)


def test_py_amqp_still_waits_for_the_confirmation_on_the_publishing_channel() -> None:
    """`broker/confirming.py` bounds it by the socket's time-out."""
    assert "confirm_publish" in inspect.signature(AMQPConnection.__init__).parameters
    source = inspect.getsource(Channel.basic_publish_confirm)
    assert "self.wait(" in source
    assert "MessageNacked" in source
