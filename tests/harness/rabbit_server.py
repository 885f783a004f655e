"""A RabbitMQ node of the tests' own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import amqp  # type: ignore[import-untyped]

from celery_mailproxy.testing.ports import free_port

from .server_process import ServerProcess, ServiceMissing

__all__ = ["RabbitServer"]


def rabbit_script() -> str:
    """RabbitMQ's own start script.

    Debian's `rabbitmq-server` on the PATH is a wrapper that changes to the user of the system's node; the script
    behind it runs as whoever calls it.

    Raises:
        ServiceMissing: RabbitMQ is not installed.
    """
    behind_wrapper = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    found = str(behind_wrapper) if behind_wrapper.exists() else shutil.which("rabbitmq-server")
    if not found:
        raise ServiceMissing("RabbitMQ is not installed (Debian, Ubuntu: apt-get install rabbitmq-server)")
    return found


def _definitions(vhosts: Sequence[str]) -> dict[str, Any]:
    """What a node has from its start: https://www.rabbitmq.com/docs/definitions."""
    salt = b"salt"
    digest = sha256(salt + b"guest").digest()
    allowed = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [
            {
                "name": "guest",
                "password_hash": b64encode(salt + digest).decode(),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["administrator"],
            }
        ],
        "vhosts": [{"name": vhost} for vhost in vhosts],
        "permissions": [{"user": "guest", "vhost": vhost, **allowed} for vhost in vhosts],
    }


class RabbitServer(ServerProcess):
    """A RabbitMQ on a free port, with its own name, data, cookie, configuration and port mapper (epmd).

    Nothing of it touches another node on the machine. Durable queues and persistent messages survive `stop()` and
    `kill()`. User and password are guest/guest, in each
    virtual host.
    """

    name = "rabbitmq"

    #: A quarter of RabbitMQ's own limit since 4.0, so that a test exceeds it with little.
    max_message_bytes = 4 * 1024 * 1024

    def __init__(
        self, *, port: int | None = None, place: str | None = None, vhost: str = "/", vhosts: Sequence[str] = ()
    ) -> None:
        """`vhost` is the virtual host of `url`, and `vhosts` are those that the node has from its start beside `/`."""
        super().__init__(port=port, place=place)
        self._vhost = vhost
        self._distribution_port = free_port()
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        (self.folder / "empty").touch()
        (self.folder / "enabled_plugins").write_text("[].\n")
        # The free-space limit of 50 MB would block all publishers on a machine with a full disk; data here are tiny.
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            f"disk_free_limit.absolute = 1MB\n"
            f"max_message_size = {self.max_message_bytes}\n"
            f"load_definitions = {self.folder / 'definitions.json'}\n"
        )
        (self.folder / "definitions.json").write_text(json.dumps(_definitions(["/", *vhosts])))

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The URL of what leads to this node from another port."""
        return f"amqp://guest:guest@127.0.0.1:{port}/{self._vhost}"

    def command(self) -> list[str]:
        return [rabbit_script()]

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ", "ERL"))}
        empty = str(self.folder / "empty")
        return {
            **inherited,
            "HOME": str(self.folder),  # where the cookie is made
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "none.config"),
            "RABBITMQ_CONF_ENV_FILE": empty,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_NODENAME": f"cmp{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # One scheduler without busy waiting: the tests' machine has other things to do.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            # The script then becomes the server, instead of waiting for it: our signals reach the server.
            "RUNNING_UNDER_SYSTEMD": "1",
        }

    def is_ready(self) -> bool:
        # The port opens before the node serves.
        with contextlib.suppress(OSError, amqp.AMQPError):
            connection = amqp.Connection(f"127.0.0.1:{self.port}", connect_timeout=5, read_timeout=5)
            try:
                connection.connect()
                return True
            finally:
                connection.collect()
        return False

    def launch(self) -> None:
        if self._epmd is None:
            self._start_epmd()
        super().launch()

    def close(self) -> None:
        super().close()
        epmd, self._epmd = self._epmd, None
        if epmd is not None:
            epmd.kill()
            epmd.wait()

    def _start_epmd(self) -> None:
        # Else the node would start one as a daemon, which outlives the tests.
        epmd = shutil.which("epmd") or next(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)
        if epmd is None:
            raise ServiceMissing("RabbitMQ is not installed (no epmd on the PATH, which comes with Erlang)")
        self._epmd = subprocess.Popen(
            [epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
