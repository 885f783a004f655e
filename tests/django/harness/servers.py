"""The tests' Django project behind real servers, in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress

import uvicorn
import waitress
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from celery_mailproxy.testing.ports import free_port
from tests.harness.waiting import wait_until

__all__ = ["SERVERS", "serve_asgi", "serve_wsgi"]


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
        thread.join()


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
        thread.join()


#: Each gives its URL without a slash at the end.
SERVERS: Mapping[str, Callable[[], AbstractContextManager[str]]] = {"uvicorn": serve_asgi, "waitress": serve_wsgi}
