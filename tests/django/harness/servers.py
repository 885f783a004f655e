"""The tests' Django project behind real servers, in threads of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import uvicorn
import waitress
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from celery_mailproxy.testing.ports import free_port

__all__ = ["SERVERS", "serve_asgi", "serve_wsgi", "wait_until"]


@contextmanager
def serve_asgi() -> Iterator[str]:
    port = free_port()
    config = uvicorn.Config(get_asgi_application(), port=port, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(15)


@contextmanager
def serve_wsgi() -> Iterator[str]:
    server = waitress.create_server(get_wsgi_application(), host="127.0.0.1", port=0, threads=2)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        with suppress(OSError):
            # Woken by a request's end, the server may be closed before it is woken for this.
            server.trigger.pull_trigger(server.close)
        server.task_dispatcher.shutdown()
        server.maintenance_interval = 0
        thread.join(15)


#: Each gives its URL without a slash at the end.
SERVERS: Mapping[str, Callable[[], AbstractContextManager[str]]] = {"uvicorn": serve_asgi, "waitress": serve_wsgi}


def wait_until(condition: Callable[[], Any], *, timeout_seconds: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
