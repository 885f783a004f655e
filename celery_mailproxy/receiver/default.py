"""`served_receiver`: what `create_app` of the ASGI and the WSGI skin serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery import Celery

from .receiver import ReportReceiver

__all__ = ["served_receiver"]


def served_receiver(
    app: Celery | None, receiver: ReportReceiver | None, overrides: Mapping[str, Any]
) -> ReportReceiver:
    """The receiver, by default the app's own, with the options that are to differ. Raises `ConfigurationError`."""
    if receiver is None:
        # Not at the top: with a receiver of its own, an application needs neither store nor proxy client.
        from ..runtime import get_runtime

        receiver = get_runtime(app).receiver
    return replace(receiver, **overrides) if overrides else receiver
