"""The app's own receiver, as its settings describe it, and what `create_app` of the ASGI and the WSGI face serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from celery import Celery

from ..deliveries.report import DeliveryReport, utcnow
from ..dispatch.dispatcher import Dispatcher, dispatcher_of
from ..dispatch.run import Run
from ..errors import MailProxyError
from ..runtime import Runtime, get_runtime
from .publisher import publisher_of
from .receiver import ReportReceiver

__all__ = ["InlineDispatch", "receiver_of", "served_receiver"]


class InlineDispatch:
    """Dispatches reports in the receiving process: `mail_proxy_dispatch = "inline"`.

    Raises where a report is younger than `park_seconds` and its message unknown, and where something could not be
    dispatched, also because another process is dispatching it just now: the proxy keeps them all and sends them again;
    those dispatched already are known as duplicates then. Nothing is left to a worker, in which the handlers need not
    be connected.
    """

    def __init__(self, dispatcher: Dispatcher, *, park_seconds: float) -> None:
        self._dispatcher = dispatcher
        self._park_seconds = park_seconds

    def __call__(self, reports: Sequence[DeliveryReport]) -> None:
        unknown = self._dispatcher.dispatch(reports, run=Run(hands_over=False))
        if not unknown:
            return
        now = utcnow()
        youngest = min((now - report.at).total_seconds() for report in unknown)
        if youngest < self._park_seconds:
            raise MailProxyError(f"{len(unknown)} reports are of messages not registered yet")
        self._dispatcher.dispatch(unknown, run=Run(hands_over=False), adopt=True)


def receiver_of(runtime: Runtime) -> ReportReceiver:
    """The app's receiver in this process. Raises `ConfigurationError`."""
    return runtime.part(_build)


def served_receiver(
    app: Celery | None, receiver: ReportReceiver | None, overrides: Mapping[str, Any]
) -> ReportReceiver:
    """The receiver, by default the app's own, with the options that are to differ. Raises `ConfigurationError`."""
    receiver = receiver_of(get_runtime(app)) if receiver is None else receiver
    return replace(receiver, **overrides) if overrides else receiver


def _build(runtime: Runtime) -> ReportReceiver:
    settings = runtime.settings
    if settings.dispatch == "worker":
        accept: Any = publisher_of(runtime)
    else:
        accept = InlineDispatch(dispatcher_of(runtime), park_seconds=settings.park_seconds)
    return ReportReceiver(
        accept=accept,
        tokens=settings.sync_token,
        auth=settings.sync_auth,
        report_path=settings.report_path,
        attachments_path=settings.attachments_path,
        max_report_bytes=settings.max_report_bytes,
        next_sync_after=settings.next_sync_after,
    )
