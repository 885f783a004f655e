"""`RedisTrips`: commands and scripts to one Redis, many on each round trip."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from redis import exceptions as redis_errors

from ....errors import StoreError
from ..urls import hide_password, hide_secrets_of
from .scripts import DAMAGED, Damage, Script
from .url import connect_redis

__all__ = ["Command", "RedisTrips", "ScriptCall"]

#: A command's name and its arguments.
Command = tuple[Any, ...]

#: A script, the one key it works on, and its arguments.
ScriptCall = tuple[Script, str, list[Any]]

# A pipeline holds its commands and answers in memory on both sides; calls of ordinary size take one.
_CALLS_PER_TRIP = 1000

# Every script may run twice: the same claim goes on, a registration or a mark repeated changes nothing. So a lost
# connection (the server was restarted, a sentinel chose another) is worth another try at once, and one a bit later.
_PAUSES_SECONDS = (0.0, 0.2)

#: How many members of a set are asked for at once.
_SCANNED_AT_ONCE = 500


class RedisTrips:
    """The way to the Redis of a URL (see `redis.url`), shared by threads; it connects when it is first used.

    A lost connection is tried again. Every other error of redis-py is raised as `StoreError`, without secrets.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = None
        self._lock = threading.Lock()

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return hide_password(self._url)

    def run_scripts(
        self, calls: Sequence[ScriptCall], *, before: Sequence[Command] = (), after: Sequence[Command] = ()
    ) -> list[Any]:
        """Run each script and answer what each answers: `Damage` where it could not read its record.

        The other commands go before and behind them on the same trip.
        """
        scripts: list[Command] = [("EVALSHA", script.sha, 1, key, *arguments) for script, key, arguments in calls]
        answers = self.run([*before, *scripts, *after])[len(before) : len(before) + len(calls)]
        # A server that has not seen the script yet, or forgot it in a restart: EVAL makes it known for the next time.
        unseen = [i for i, each in enumerate(answers) if isinstance(each, redis_errors.NoScriptError)]
        again = self.run([("EVAL", calls[i][0].text, *scripts[i][2:]) for i in unseen])
        for index, answer in zip(unseen, again, strict=True):
            answers[index] = answer
        return answers

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """What the server answers to each command. One trip for up to 1000, and none for none."""
        answers: list[Any] = []
        for start in range(0, len(commands), _CALLS_PER_TRIP):
            batch = commands[start : start + _CALLS_PER_TRIP]
            answers += self._try(partial(_execute, commands=batch))
        return answers

    def scan(self, key: str, cursor: Any) -> tuple[Any, list[bytes]]:
        """Some members of a set, and the cursor of the next ones: 0 where there are no more."""
        found: tuple[Any, list[bytes]] = self._try(partial(_scan, key=key, cursor=cursor))
        return found

    def keys(self, pattern: str) -> Iterator[str]:
        """The keys that match, of every server of a cluster; one may come twice."""
        return (key.decode() for key in self._iterated(lambda client: client.scan_iter(pattern, _SCANNED_AT_ONCE)))

    def members(self, key: str) -> Iterator[str]:
        """The members of a sorted set, in no order; one may come twice."""
        found = self._iterated(lambda client: client.zscan_iter(key, count=_SCANNED_AT_ONCE))
        return (member.decode() for member, _ in found)

    def fields(self, key: str) -> Iterator[tuple[str, str]]:
        """The fields of a hash with their values, in no order; one may come twice."""
        found = self._iterated(lambda client: client.hscan_iter(key, count=_SCANNED_AT_ONCE))
        return ((field.decode(), value.decode()) for field, value in found)

    def close(self) -> None:
        """Let go of the connections; the next trip makes others."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
            if (pool := getattr(client, "connection_pool", None)) is not None:
                pool.disconnect()

    def _try(self, run: Callable[[Any], Any]) -> Any:
        for pause_seconds in (*_PAUSES_SECONDS, None):
            try:
                return run(self._connected())
            except (redis_errors.RedisError, redis_errors.RedisClusterException) as exc:
                is_lost = isinstance(exc, redis_errors.ConnectionError) and not isinstance(
                    exc, redis_errors.AuthenticationError
                )
                if pause_seconds is None or not is_lost:
                    raise self._translated(exc) from (None if self._is_secret(exc) else exc)
                time.sleep(pause_seconds)
        raise AssertionError("unreachable")

    def _iterated(self, begin: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
        """What a scan gives. Where the connection is lost on the way, it ends with `StoreError`."""
        try:
            yield from begin(self._connected())
        except (redis_errors.RedisError, redis_errors.RedisClusterException) as exc:
            raise self._translated(exc) from (None if self._is_secret(exc) else exc)

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = connect_redis(self._url)
            return self._client

    def _translated(self, exc: Exception) -> StoreError:
        text = hide_secrets_of(self._url, str(exc))
        return StoreError(
            f"the delivery store {self.shown_url} cannot be used: {type(exc).__name__}: {text.rstrip('.')}. Start that "
            "Redis, or correct mail_proxy_store"
        )

    def _is_secret(self, exc: Exception) -> bool:
        # Where no master is found, some releases of redis-py quote the options of their connections.
        return hide_secrets_of(self._url, str(exc)) != str(exc)


def _scan(client: Any, *, key: str, cursor: Any) -> Any:
    return client.sscan(key, cursor, count=_SCANNED_AT_ONCE)


def _execute(client: Any, *, commands: Sequence[Command]) -> list[Any]:
    # `execute_command`, since a cluster's pipeline has no methods for scripts; it does send them.
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers = pipeline.execute(raise_on_error=False)
    return [_answer(command, answer) for command, answer in zip(commands, answers, strict=True)]


def _answer(command: Command, answer: Any) -> Any:
    """The answer to a command. Raises what it cannot be used with."""
    if not isinstance(answer, Exception) or isinstance(answer, redis_errors.NoScriptError):
        return answer
    # A key of ours that somebody has made something else of.
    is_other_type = command[0] == "GET" and str(answer).startswith("WRONGTYPE")
    if is_other_type or str(answer).startswith(DAMAGED):
        return Damage(str(answer))
    raise answer
