"""The links on our side of the proxy: application, settings, broker, workers, store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery

from ...conf import task_names
from ...conf.settings import Settings, Unset
from ...deliveries.stores.damage import damaged_ids
from ...runtime import Runtime
from ..command import shown_url
from ..terminal import plain
from .links import Link, failed, fine, skipped, warning

__all__ = [
    "check_application",
    "check_broker",
    "check_settings",
    "check_store",
    "check_workers",
    "secrets_of",
]


def check_application(app: Celery) -> Link:
    """The app is the user's own, and its task modules can be imported."""
    if app.main == "default":
        return warning(
            "application",
            "none given: using Celery's defaults and settings from the environment",
            "Name yours: celery -A proj mailproxy check",
        )
    app.loader.import_default_modules()
    return fine("application", f"{app.main or 'unnamed'}, its task modules imported")


def check_settings(settings: Settings) -> Link:
    """They could be read; what is worth a second look among them."""
    servers = ", ".join(settings.server_names())
    found = f"server{'s' if ',' in servers else ''} {servers}; reports at {settings.report_path}"
    if isinstance(settings.sync_token, Unset):
        return failed(
            "settings",
            f"{found}; mail_proxy_sync_token is not set, so the receiver refuses to start",
            "Set mail_proxy_sync_token to the token in the tenant's client_auth on the proxy.",
        )
    if settings.sync_token is None:
        return warning(
            "settings",
            f"{found}; mail_proxy_sync_token is None, so anyone may post reports",
            "Set mail_proxy_sync_token unless only the proxy can reach the receiver.",
        )
    return fine("settings", found)


def check_broker(app: Celery, *, timeout_seconds: float) -> Link:
    """A connection can be opened."""
    if app.conf.task_always_eager:
        return skipped("broker", "task_always_eager is set: tasks run in the calling process")
    with app.connection_for_write(connect_timeout=timeout_seconds) as connection:
        url = shown_url(connection)
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        except Exception as exc:
            return failed("broker", f"no connection to {url}: {exc}", "Start the broker, or correct broker_url.")
    return fine("broker", url)


def check_workers(app: Celery, settings: Settings, *, timeout_seconds: float) -> Link:
    """Some worker answers, has our tasks, and takes them from the queues where they are published."""
    if app.conf.task_always_eager:
        return skipped("workers", "task_always_eager is set: no worker is needed")
    inspect = app.control.inspect(timeout=timeout_seconds)
    registered: Mapping[str, Iterable[str]] = inspect.registered() or {}
    if not registered:
        return warning(
            "workers",
            f"none answered within {timeout_seconds:g} s",
            "Start one: celery -A proj worker. A worker may also be too busy to answer.",
        )
    names = ", ".join(sorted(registered))
    tasks = [task_names.SEND, *([task_names.DISPATCH] if settings.dispatch == "worker" else [])]
    missing = [task for task in tasks if not any(task in known for known in registered.values())]
    if missing:
        return failed(
            "workers",
            f"{names}; none has {' and '.join(missing)}",
            'Add "celery_mailproxy.tasks" to the app\'s imports setting (or include=) and restart the workers.',
        )
    return _check_queues(app, tasks, names, _queues_of(inspect.active_queues() or {}))


def _check_queues(app: Celery, tasks: Iterable[str], names: str, consumed: Collection[str]) -> Link:
    wanted = {task: _queue_of(app, task) for task in tasks}
    unheard = {task: queue for task, queue in wanted.items() if consumed and queue not in consumed}
    if unheard:
        queues = ", ".join(sorted(set(unheard.values())))
        return failed(
            "workers",
            f"{names}; none takes tasks from {queues}, where {' and '.join(unheard)} goes",
            f"Start a worker with -Q {queues.replace(', ', ',')}, or correct task_routes.",
        )
    return fine("workers", f"{names}; queue {', '.join(sorted(set(wanted.values())))}")


def _queues_of(active_queues: Mapping[str, Iterable[Mapping[str, Any]]]) -> set[str]:
    return {queue["name"] for queues in active_queues.values() for queue in queues}


def _queue_of(app: Celery, task: str) -> str:
    route = app.amqp.router.route({}, task)
    queue = route.get("queue")
    return str(getattr(queue, "name", queue) or app.conf.task_default_queue)


def check_store(runtime: Runtime) -> Link:
    """It can be opened, read and written."""
    found = runtime.store.check()
    if runtime.settings.store.startswith("memory:"):
        return warning(
            "store",
            f"{found}: each process has its own deliveries and loses them when it ends",
            "Set mail_proxy_store to a redis:// or sqlite:// URL, unless this is a test.",
        )
    if damaged := damaged_ids(runtime.store):
        ids = ", ".join(plain(message_id) for message_id in damaged)
        return warning(
            "store",
            f"{found}; these records cannot be read: {ids}",
            "Restore them from a backup, or delete them: their mails are not followed any more. See the worker's log.",
        )
    return fine("store", found)


def secrets_of(app: Celery, settings: Settings) -> set[str]:
    """Every secret in the settings, so that none is shown, whatever quotes it."""
    tokens = [settings.server(name).token for name in settings.server_names()]
    if isinstance(settings.sync_token, Mapping):
        tokens += [token for several in settings.sync_token.values() for token in several]
    urls = [settings.store, app.conf.broker_url, app.conf.broker_write_url, app.conf.result_backend]
    passwords = [_password(url) for url in urls if isinstance(url, str)]
    return {secret for secret in (*tokens, *passwords) if secret}


def _password(url: str) -> str | None:
    try:
        password = urlsplit(url).password
    except ValueError:
        return None
    return unquote(password) if password else None
