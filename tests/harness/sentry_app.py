"""`mail_app` with Sentry, initialised in `celeryd_init` as its guide for Celery says. What it sends is noted."""

from __future__ import annotations

from typing import Any

import sentry_sdk
from celery import signals as celery_signals
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from .mail_app import app, note

__all__ = ["app"]


class NotingTransport(Transport):
    """Notes each transaction: its name, and the id of its task."""

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_transaction_event()
        if event is not None:
            note(what="sentry", name=f"sentry:{event['transaction']}", id=event["tags"]["celery_task_id"])


@celery_signals.celeryd_init.connect
def begin_recording(**kwargs: Any) -> None:
    # Nobody listens at this address: the transport sends nothing.
    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=NotingTransport, traces_sample_rate=1.0)
