"""Which connections a listener keeps, for how long, and which of them makes way."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from celery_mailproxy.receiver.connections import (
    BODY_SECONDS,
    IDLE_SECONDS,
    MAX_CONNECTIONS,
    STRANGER_SECONDS,
    Connections,
    connection_limit,
)


class Socket:
    """A connection that notes that it was dropped."""

    def __init__(self) -> None:
        self.is_served = False
        self.is_dropped = False

    def drop(self) -> None:
        self.is_dropped = True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connections(clock: Clock) -> Connections:
    return Connections(3, clock=clock)


def opened(connections: Connections, number: int) -> list[Socket]:
    sockets = [Socket() for _ in range(number)]
    for each in sockets:
        connections.opened(each)
    return sockets


def dropped_after(seconds: float, socket: Socket, connections: Connections, clock: Clock) -> bool:
    clock.now += seconds
    connections.drop_late()
    return socket.is_dropped


def test_without_room_the_stranger_that_was_there_first_makes_way(connections: Connections) -> None:
    first, second, third, fourth = opened(connections, 4)
    assert [each.is_dropped for each in (first, second, third, fourth)] == [True, False, False, False]
    assert len(connections) == 3


def test_who_has_shown_a_token_makes_way_for_nobody(connections: Connections) -> None:
    known, *_ = opened(connections, 1)
    connections.admitted(known)
    strangers = opened(connections, 100)
    assert not known.is_dropped
    assert sum(not each.is_dropped for each in strangers) == 2


def test_among_those_with_a_token_there_is_no_room_for_a_stranger(connections: Connections) -> None:
    for known in opened(connections, 3):
        connections.admitted(known)
    assert not connections.can_take_one
    assert not connections.make_room()


def test_there_is_room_as_long_as_a_stranger_can_make_way(connections: Connections) -> None:
    known, *_ = opened(connections, 3)
    connections.admitted(known)
    assert connections.can_take_one


def test_a_stranger_has_a_moment_for_its_request(connections: Connections, clock: Clock) -> None:
    (stranger,) = opened(connections, 1)
    assert dropped_after(STRANGER_SECONDS, stranger, connections, clock) is False
    assert dropped_after(0.1, stranger, connections, clock) is True
    assert len(connections) == 0


def test_a_body_with_a_token_may_take_longer(connections: Connections, clock: Clock) -> None:
    (known,) = opened(connections, 1)
    connections.admitted(known)
    assert dropped_after(BODY_SECONDS, known, connections, clock) is False
    assert dropped_after(0.1, known, connections, clock) is True


def test_nobody_is_dropped_while_being_served_and_the_time_begins_anew_then(
    connections: Connections, clock: Clock
) -> None:
    known, stranger = opened(connections, 2)
    connections.admitted(known)
    known.is_served = stranger.is_served = True
    assert dropped_after(10_000, known, connections, clock) is False
    assert dropped_after(10_000, stranger, connections, clock) is False
    known.is_served = stranger.is_served = False
    assert dropped_after(STRANGER_SECONDS + 0.1, stranger, connections, clock) is True
    assert dropped_after(0, known, connections, clock) is False
    assert dropped_after(IDLE_SECONDS, known, connections, clock) is True


def test_a_closed_connection_is_forgotten(connections: Connections, clock: Clock) -> None:
    (gone,) = opened(connections, 1)
    connections.closed(gone)
    connections.admitted(gone)
    clock.now += 10_000
    connections.drop_late()
    assert (len(connections), gone.is_dropped) == (0, False)


def test_strangers_fill_no_log(connections: Connections, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(59):
        opened(connections, 100)
        connections.drop_late()
        clock.now += 1
    assert len(caplog.records) == 1
    clock.now += 1
    connections.drop_late()
    assert len(caplog.records) == 2
    assert "of 3 at most" in caplog.text


@pytest.fixture
def files() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("soft", "expected"), [(1024, 512), (600, 300)])
def test_the_listener_takes_half_of_the_files_that_the_process_may_open(files: int, soft: int, expected: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, files))
    assert connection_limit() == expected


def test_the_listener_takes_no_more_than_its_loop_can_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft in (resource.RLIM_INFINITY, 1_000_000):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, soft=soft: (soft, soft))
        assert connection_limit() == MAX_CONNECTIONS
