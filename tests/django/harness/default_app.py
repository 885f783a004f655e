"""A Celery app as a Django project has one: the default of every thread, for the time of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, _state

from celery_mailproxy.runtime import forget_runtime

__all__ = ["default_app"]


@contextmanager
def default_app(**conf: Any) -> Iterator[Celery]:
    """The app, with these settings and a broker in memory."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update(conf)
    before = _state.default_app, _state._tls.current_app
    app.set_default()
    # Else an app that another test has made in this thread would come first.
    _state._tls.current_app = None
    try:
        yield app
    finally:
        _state.default_app, _state._tls.current_app = before
        forget_runtime(app)
        app.close()
