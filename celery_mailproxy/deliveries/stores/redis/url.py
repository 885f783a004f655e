"""From a URL to a Redis client: one server, a master behind sentinels, or a cluster.

    redis://[user:password@]host[:port][/db]            one server
    rediss://…                                          the same over TLS
    unix://[user:password@]/path/to/socket[?db=0]       the same over a Unix socket (redis-py 4.6 or newer)
    sentinel://[user:password@]host[:port],host[:port]/master[?db=0][&sentinel_username=…][&sentinel_password=…]
    rediss+sentinel://…                                 the same over TLS
    redis+cluster://[user:password@]host[:port],host[:port]
    rediss+cluster://…                                  the same over TLS

User and password are percent-encoded. Other options of redis-py go in the query, e.g. `?ssl_ca_certs=/path/ca.pem`,
`?socket_timeout=2`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis import cluster, sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from ....errors import ConfigurationError

__all__ = ["connect_redis"]

# redis-py's releases differ in what they annotate.
_Sentinel: Any = sentinel.Sentinel
_RedisCluster: Any = cluster.RedisCluster
_ClusterNode: Any = cluster.ClusterNode

_SENTINEL = ("sentinel", "rediss+sentinel")
_CLUSTER = ("redis+cluster", "rediss+cluster")
_DEFAULT_SENTINEL_PORT = 26379
_DEFAULT_PORT = 6379

# A server that hangs must not hold up a web request for long; see `RedisTrips` for why nothing is retried here.
_SOCKET: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}
_HEALTH_CHECK_SECONDS = 30


def connect_redis(url: str) -> Any:
    """A client for the URL; nothing is sent yet, but a cluster is asked for its nodes.

    Raises `ConfigurationError` for a URL that makes no sense, and redis-py's errors.
    """
    scheme = url.partition("://")[0]
    try:
        if scheme in _SENTINEL:
            return _sentinel_master(url)
        if scheme in _CLUSTER:
            return _cluster(url)
        return _checked(redis.Redis.from_url(url, **_SOCKET, **_single_options()))
    except (ValueError, TypeError) as exc:
        # The text of the error may quote the URL, and with it the password.
        raise ConfigurationError(
            f"the {scheme}:// URL of the store cannot be read ({type(exc).__name__}); it must be like "
            f"redis://user:password@host:6379/0, with a percent-encoded password"
        ) from None


def _checked(client: Any) -> Any:
    # redis-py looks at its options when it makes a connection: find an unknown one now, not in the worker.
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)
    return client


def _single_options() -> dict[str, Any]:
    return {"retry": Retry(NoBackoff(), 0), "health_check_interval": _HEALTH_CHECK_SECONDS}


def _sentinel_master(url: str) -> Any:
    parts = urlsplit(url)
    options = _query_options(parts.query)
    master = unquote(parts.path).strip("/")
    if not master:
        raise ConfigurationError("a sentinel:// URL must name the master: sentinel://host:26379/mymaster")
    sentinel_options: dict[str, Any] = {**_SOCKET, **_single_options()}
    for name in ("username", "password"):
        if (value := options.pop(f"sentinel_{name}", None)) is not None:
            sentinel_options[name] = value
    if parts.scheme.startswith("rediss"):
        options["ssl"] = sentinel_options["ssl"] = True
        sentinel_options.update({k: v for k, v in options.items() if k.startswith("ssl_")})
    nodes = _hosts(parts.netloc, default_port=_DEFAULT_SENTINEL_PORT)
    sentinels = _Sentinel(nodes, sentinel_kwargs=sentinel_options)
    connection_options = {**_SOCKET, **_single_options(), **_credentials(parts.netloc), **options}
    return _checked(sentinels.master_for(master, **connection_options))


def _cluster(url: str) -> Any:
    parts = urlsplit(url)
    options = _query_options(parts.query)
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    nodes = [_ClusterNode(*node) for node in _hosts(parts.netloc, default_port=_DEFAULT_PORT)]
    return _RedisCluster(startup_nodes=nodes, **{**_SOCKET, **_credentials(parts.netloc), **options})


def _hosts(netloc: str, *, default_port: int) -> list[tuple[str, int]]:
    """`user:password@one:1,[::1]:2,three` as hosts and ports."""
    hosts = []
    for place in netloc.rpartition("@")[2].split(","):
        parts = urlsplit(f"//{place}")
        if not parts.hostname:
            raise ConfigurationError(f"a host is missing in {netloc.rpartition('@')[2]!r}: host:port,host:port")
        hosts.append((parts.hostname, parts.port or default_port))
    return hosts


def _credentials(netloc: str) -> dict[str, str]:
    userinfo, at, _ = netloc.rpartition("@")
    if not at:
        return {}
    username, _, password = userinfo.partition(":")
    named = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in named.items() if value}


def _query_options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_qsl(query))
    for name in ("db", "socket_timeout", "socket_connect_timeout"):
        if name in options:
            options[name] = int(options[name]) if name == "db" else float(options[name])
    return options
