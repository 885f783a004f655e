"""What a worker with these tasks does at its start, beside running them."""

from __future__ import annotations

import logging
from typing import Any

from celery import current_app

from ...broker.clients import check_client
from ...broker.quorum_queues import TOPIC_SETTINGS, waits_in_worker
from ...conf.settings import Settings
from ...errors import ConfigurationError
from ...proxy.client import ProxyClient
from ...runtime import get_runtime

__all__ = [
    "add_maintenance",
    "check_settings",
    "confirm_in_pool",
    "confirm_in_worker",
    "report_quorum_queues",
    "report_unimported",
]

logger = logging.getLogger(__name__)

#: The worker's step that does the maintenance. It stands above this package: Celery imports it.
_MAINTENANCE_STEP = "celery_mailproxy.maintenance.step:MaintenanceStep"


def check_settings(instance: Any, **kwargs: Any) -> None:
    """Keep a worker with wrong settings from starting: it would hold up every mail that it takes.

    So would a certificate file that is missing, or an environment that makes no HTTP client; and without its broker's
    client it would end with a traceback that does not say what to install.

    A handler of Celery's signal `celeryd_init`.
    """
    try:
        check_client(instance.app)
        settings = get_runtime(instance.app).settings
        for name in settings.server_names():
            # Without a URL a worker may still dispatch reports.
            if settings.has_url(name):
                ProxyClient(settings.server(name)).close()
    except ConfigurationError as exc:
        raise SystemExit(f"Error: {exc}") from exc


def confirm_in_worker(instance: Any, **kwargs: Any) -> None:
    """Have the broker confirm what Celery publishes in this process by itself, such as the next task of a chain.

    A handler of `celeryd_init`: for pools without processes, and for what the main process publishes in place of a
    task that was killed.
    """
    get_runtime(instance.app).producers.confirm_all()


def confirm_in_pool(**kwargs: Any) -> None:
    """The same in a process of the prefork pool. A handler of `worker_process_init`."""
    get_runtime(current_app).producers.confirm_all()


def report_unimported(instance: Any, **kwargs: Any) -> None:
    """Log what is missing in a worker whose app does not import our tasks. A handler of `celeryd_after_setup`.

    One without any of our settings has nothing to do with mails, and is left in peace.
    """
    try:
        settings = get_runtime(instance.app).settings
    except ConfigurationError as exc:
        logger.error("emails that this worker takes will wait: %s", exc)
        return
    if settings != Settings():
        logger.warning(
            "this worker's application imports celery_mailproxy nowhere; its tasks are registered all the same. "
            "Handlers of mail_sent and other signals run here only if their modules are imported: name those modules, "
            "or celery_mailproxy.tasks where there are none, in the setting imports"
        )


def report_quorum_queues(instance: Any, **kwargs: Any) -> None:
    """Warn where tasks with a countdown hold up the worker. A handler of `celeryd_after_setup`."""
    queues = sorted(queue for queue in instance.app.amqp.queues.consume_from if waits_in_worker(instance.app, queue))
    if queues:
        logger.warning(
            "%s: with quorum queues and a direct exchange, each task with a countdown of its own holds a place of this "
            "worker's prefetch while it waits. Retries of emails wait in RabbitMQ. For other tasks set %s",
            ", ".join(queues),
            TOPIC_SETTINGS,
        )


def add_maintenance(instance: Any, **kwargs: Any) -> None:
    """Let the worker do the maintenance by itself, in turn with the others. A handler of `celeryd_init`."""
    instance.app.steps["worker"].add(_MAINTENANCE_STEP)
