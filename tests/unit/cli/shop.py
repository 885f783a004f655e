"""The shop whose operator runs the commands: memory store, no broker, and what its tests share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from celery import Celery
from click.testing import Result

from celery_mailproxy.conf.settings import Settings, load_settings
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.receiver.default import receiver_of
from celery_mailproxy.receiver.server import ReportServer
from celery_mailproxy.runtime import forget_runtime, get_runtime

Run = Callable[..., Result]
TOKEN, SYNC_TOKEN = "api-token-7f3a", "sync-token-91bc"


def report(kind: Kind, message_id: str = "m1", *, seconds_ago: float = 60, **fields: Any) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id=message_id, at=utcnow() - timedelta(seconds=seconds_ago), **fields)


def settings(**conf: Any) -> Settings:
    app = Celery("x", set_as_current=False)
    app.conf.update({"mail_proxy_url": "http://proxy", "mail_proxy_sync_token": SYNC_TOKEN, **conf})
    return load_settings(app, environ={})


@contextmanager
def serving(app: Celery) -> Iterator[str]:
    """The app's receiver on a free port; its base URL."""
    forget_runtime(app)
    server = ReportServer(receiver_of(get_runtime(app)), host="127.0.0.1", port=0)
    server.start()
    try:
        yield server.urls[0]
    finally:
        server.stop()


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
