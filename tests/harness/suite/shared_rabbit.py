"""One RabbitMQ node for all processes of a run, with a virtual host for each: nobody sees another's queues and events.

Starting a node takes longer than most tests that need it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from ..rabbit_server import RabbitServer
from ..server_process import ServiceMissing
from ..waiting import wait_until
from .parts import Part

__all__ = ["rabbit_node", "shared_rabbit"]

#: PORT:PART, for the processes of a part.
_NODE = "CELERY_MAILPROXY_TESTS_RABBITMQ"


@contextlib.contextmanager
def shared_rabbit(parts: Sequence[Part], *, place: str | None) -> Iterator[dict[str, dict[str, str]]]:
    """A node, being started, and by each part's name the environment by which its processes' `rabbit_node` finds it.

    Nothing where RabbitMQ is missing.
    """
    names = [_vhost(part.name, f"gw{number}") for part in parts for number in range(part.processes)]
    node = RabbitServer(place=place, vhosts=names)
    try:
        # Whose test needs it waits, or says what is missing.
        with contextlib.suppress(ServiceMissing):
            node.launch()
        yield {} if node.pid is None else {part.name: {_NODE: f"{node.port}:{part.name}"} for part in parts}
    finally:
        node.close()


@contextlib.contextmanager
def rabbit_node() -> Iterator[RabbitServer]:
    """The run's node, or one of this process's own. Raises `ServiceMissing`."""
    port, _, part = os.environ.get(_NODE, "").partition(":")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    is_shared = bool(port and worker)
    node = RabbitServer(port=int(port), vhost=_vhost(part, worker)) if is_shared else RabbitServer()
    try:
        if is_shared:
            wait_until(node.is_ready, "the run's RabbitMQ node, which is as slow to start as the machine is busy")
        else:
            node.start()
        yield node
    finally:
        node.close()


def _vhost(part: str, worker: str) -> str:
    return f"{part}-{worker}"
