"""What kombu's Redis transport loses, by design: a message between `BRPOP` and the note that somebody has it.

`docs/explanation/guarantees.md` says so. A test that fails here means that kombu has closed the gap: correct the page.
"""

from __future__ import annotations

import contextlib

import pytest
from kombu import Connection, Consumer, Producer, Queue

from ...harness.services import RedisServer
from ...harness.tap import Tap
from ...harness.waiting import wait_until

pytestmark = pytest.mark.integration

QUEUE = "gap"
BODY = "who-has-me"


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    with redis_server.client(9) as client:
        client.flushdb()
    return redis_server.url_of(9)


def keys_with(server: RedisServer) -> set[str]:
    """The keys of Redis that hold the message."""
    with server.client(9) as client:
        waiting = {QUEUE} if any(BODY.encode() in each for each in client.lrange(QUEUE, 0, -1)) else set()
        noted = {"unacked"} if any(BODY.encode() in each for each in client.hvals("unacked")) else set()
        return waiting | noted


def publish(url: str) -> None:
    with Connection(url) as connection:
        # As text, so that it is seen on the wire as it is.
        connection.default_channel.body_encoding = None
        Producer(connection).publish(BODY, routing_key=QUEUE, content_type="text/plain", declare=[Queue(QUEUE)])


def consume(url: str, taken: list[str]) -> None:
    def take(body: str, message: object) -> None:
        taken.append(body)

    errors = Connection(url).connection_errors
    options = {"socket_timeout": 5, "retry_on_timeout": False}
    with (
        contextlib.suppress(*errors, OSError),
        Connection(url, transport_options=options) as connection,
        Consumer(connection, [Queue(QUEUE)], callbacks=[take]),
    ):
        connection.drain_events(timeout=10)


def test_kombu_still_pops_before_it_notes(redis_server: RedisServer, redis_url: str) -> None:
    """A connection cut between the two, by whatever: nobody is killed, nothing is logged, and the message is gone."""
    cut = []

    def watch(data: bytes, to_server: bool) -> bool:
        if not to_server and BODY.encode() in data:
            cut.append(data)
        # From then on nothing passes: the worker's next connections are refused, as while Redis starts again.
        return not cut

    publish(redis_url)
    assert keys_with(redis_server) == {QUEUE}
    taken: list[str] = []
    with Tap(redis_server.port, watch=watch) as tap:
        consume(f"redis://127.0.0.1:{tap.port}/9", taken)
        wait_until(lambda: cut, "the answer to BRPOP")
    assert taken == []
    assert keys_with(redis_server) == set()


def test_once_it_is_noted_it_stays(redis_server: RedisServer, redis_url: str) -> None:
    """The same cut one step later: the message is given out again after the visibility timeout."""
    noted = []

    def watch(data: bytes, to_server: bool) -> bool:
        if to_server and b"unacked" in data and BODY.encode() in data:
            noted.append(data)
            return True
        return not (noted and not to_server)

    publish(redis_url)
    taken: list[str] = []
    with Tap(redis_server.port, watch=watch) as tap:
        consume(f"redis://127.0.0.1:{tap.port}/9", taken)
        wait_until(lambda: noted, "the note")
    wait_until(lambda: keys_with(redis_server) == {"unacked"}, "the note in Redis")
