"""`ConfirmingProducer`: its `publish` returns when RabbitMQ has the message, and raises when that takes too long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from amqp.exceptions import MessageNacked  # type: ignore[import-untyped]
from kombu import Producer
from kombu.exceptions import OperationalError

__all__ = ["CONFIRM_SECONDS", "ConfirmingProducer"]

#: How long a publication waits for RabbitMQ, which neither confirms nor refuses while it is short of memory or disk.
CONFIRM_SECONDS = 30.0

#: Options of a connection that say how often, and how long, it is tried to connect.
_CONNECT_OPTIONS = ("max_retries", "interval_start", "interval_step", "interval_max")


class ConfirmingProducer(Producer):  # type: ignore[misc]
    """A producer for a connection with `confirm_publish`, which bounds each wait for the broker.

    Without a bound a connection that has gone silent is waited for until it breaks: kombu before 5.5 takes no
    `confirm_timeout`, and no release bounds what comes before the message (channel, confirm mode, queues).

    `publish` raises kombu's `OperationalError` for a message that the broker refuses to enqueue (`basic.nack`), and an
    error of the connection where the broker is silent. That connection is dropped: a confirmation that came late would
    be taken for the next message's.
    """

    _seconds = CONFIRM_SECONDS

    def publish(
        self, body: Any, *args: Any, confirm_timeout: float | None = None, timeout: float | None = None, **options: Any
    ) -> Any:
        """As kombu's. `confirm_timeout`, or else `timeout`, is the bound of each wait in seconds."""
        self._seconds = confirm_timeout or timeout or CONFIRM_SECONDS
        return super().publish(body, *args, **options)

    def _publish(self, *args: Any, **options: Any) -> Any:
        """One try. `publish` repeats it on a new connection after an error of the connection."""
        connection = self.__connection__
        try:
            with _bounded(_connected(connection), self._seconds):
                return super()._publish(*args, **options)
        except MessageNacked as exc:
            raise OperationalError("the broker refused the message: its queue is full, or cannot be written") from exc
        except connection.channel_errors as exc:
            if "timed out" not in str(exc):
                raise
            # py-amqp before 5.4 takes a write that timed out for an error of the channel, which is tried again on the
            # same socket.
            connection.collect()
            raise self._silence from exc
        except TimeoutError as exc:
            connection.collect()
            raise self._silence from exc
        except BaseException:
            # Also a time limit of the task that publishes: what was awaited may still come.
            connection.collect()
            raise

    @property
    def _silence(self) -> TimeoutError:
        return TimeoutError(f"the broker has confirmed nothing for {self._seconds:g} s")


def _connected(connection: Any) -> Any:
    """The transport's own connection, connected as kombu does it before it opens a channel."""
    if not connection.connected:
        known = connection.transport_options or {}
        options = {name: known[name] for name in _CONNECT_OPTIONS if name in known}
        connection.ensure_connection(reraise_as_library_errors=False, **options)
    return connection.connection


@contextmanager
def _bounded(connection: Any, seconds: float) -> Iterator[None]:
    """Let every read and write of the connection in this block raise `TimeoutError` after so many seconds."""
    sock = connection.transport.sock
    before = sock.gettimeout()
    sock.settimeout(seconds)
    try:
        yield
    finally:
        # A socket that was closed meanwhile has no time-out.
        with suppress(OSError):
            sock.settimeout(before)
