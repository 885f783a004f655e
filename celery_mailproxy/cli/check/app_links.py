"""The links on our side of the proxy: application, settings, broker, workers, store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery

from ...broker.clients import check_client
from ...broker.quorum_queues import TOPIC_SETTINGS, can_delay, quorum_queue, waits_in_worker
from ...conf import task_names
from ...conf.settings import DJANGO_STORE, Settings, Unset, unknown_variables
from ...deliveries.stores.damage import damaged_ids
from ...runtime import Runtime
from ...tasks.sending.troubles import trouble_of
from ..command import shown_url
from ..terminal import plain
from .links import Link, failed, fine, skipped, warning

__all__ = [
    "check_application",
    "check_broker",
    "check_queues",
    "check_settings",
    "check_store",
    "check_waiting",
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
    if settings.sync_auth == "none":
        return warning(
            "settings",
            f"{found}; mail_proxy_sync_auth is 'none', so anyone may post reports",
            "Set mail_proxy_sync_token in its place, unless only the proxy can reach the receiver.",
        )
    if settings.reports == "poll":
        return fine("settings", f"{found.partition(';')[0]}; outcomes are asked for (mail_proxy_reports is 'poll')")
    if isinstance(settings.sync_token, Unset):
        return failed(
            "settings",
            f"{found}; mail_proxy_sync_token is not set, so the receiver refuses to start",
            "Set mail_proxy_sync_token to the token in the tenant's client_auth on the proxy.",
        )
    if unknown := unknown_variables():
        meant = [f"{name} (did you mean {near}?)" if near else name for name, near in unknown.items()]
        return warning(
            "settings",
            f"{found}; variables in the environment that are no settings: {', '.join(meant)}",
            "Correct their names, or remove them, unless another program reads them.",
        )
    return fine("settings", found)


def check_broker(app: Celery, *, timeout_seconds: float) -> Link:
    """A connection can be opened."""
    if app.conf.task_always_eager:
        return skipped("broker", "task_always_eager is set: tasks run in the calling process")
    check_client(app)
    with app.connection_for_write(connect_timeout=timeout_seconds) as connection:
        url = shown_url(connection)
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        except Exception as exc:
            return failed("broker", f"no connection to {url}: {exc}", "Start the broker, or correct broker_url.")
    return fine("broker", url)


def check_workers(app: Celery, settings: Settings, *, timeout_seconds: float) -> Link:
    """Some worker answers, and each that takes tasks from a queue of ours knows all of our tasks that go there."""
    if app.conf.task_always_eager:
        return skipped("workers", "task_always_eager is set: no worker is needed")
    inspect = app.control.inspect(timeout=timeout_seconds)
    registered = {worker: _names(tasks) for worker, tasks in (inspect.registered() or {}).items()}
    if not registered:
        return warning(
            "workers",
            f"none answered within {timeout_seconds:g} s",
            "Start one: celery -A proj worker. A worker may also be too busy to answer.",
        )
    names = ", ".join(sorted(registered))
    needed = [task_names.SEND, *([task_names.DISPATCH] if settings.dispatch == "worker" else [])]
    missing = [task for task in needed if not any(task in known for known in registered.values())]
    if missing:
        return failed("workers", f"{names}; none has {' and '.join(missing)}", _REGISTER)
    consumed = {worker: _names(queues) for worker, queues in (inspect.active_queues() or {}).items()}
    if lacking := list(_lacking(registered, consumed, _routes(app, settings))):
        return failed("workers", f"{names}; {'; '.join(lacking)}", _REGISTER)
    wanted = {task: _queue_of(app, task) for task in needed}
    return _check_queues(wanted, names, set().union(*consumed.values()))


_REGISTER = (
    "Start it with Celery's command line where this release of celery-mailproxy is installed, or add "
    '"celery_mailproxy.tasks" to its app\'s imports setting, and restart it; or give it other queues (-Q).'
)


def _routes(app: Celery, settings: Settings) -> Sequence[tuple[str, str]]:
    """The tasks that this application publishes, or may publish, each with a queue where it goes."""
    tasks = [task_names.SEND, task_names.SEND_MANY, task_names.DELIVER, task_names.DELIVER_FROM_CHUNK]
    if settings.dispatch == "worker":
        tasks.append(task_names.DISPATCH)
    if settings.heal:
        tasks.append(task_names.HEAL)
    if settings.store == DJANGO_STORE:
        tasks += [task_names.SEND_KEPT, task_names.REPLAY_HANDLERS]
    routes = [(task, _queue_of(app, task)) for task in tasks]
    if settings.resume_queue:
        routes += [(task, settings.resume_queue) for task in (task_names.DELIVER, task_names.DELIVER_FROM_CHUNK)]
    return routes


def _lacking(
    registered: Mapping[str, Collection[str]],
    consumed: Mapping[str, Collection[str]],
    routes: Sequence[tuple[str, str]],
) -> Iterator[str]:
    """What is wrong with each worker that takes tasks which it does not know: Celery discards them there."""
    for worker, queues in sorted(consumed.items()):
        # One that answered this question alone is not judged.
        known = registered.get(worker)
        unknown = {task: queue for task, queue in routes if queue in queues and known is not None and task not in known}
        if unknown:
            taken_from = ", ".join(sorted(set(unknown.values())))
            tasks = _summed_up(list(unknown))
            yield f"{worker} takes tasks from {taken_from} and discards {tasks}, which it does not know"


def _summed_up(tasks: Sequence[str]) -> str:
    rest = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
    return tasks[0] + rest


def _check_queues(wanted: Mapping[str, str], names: str, consumed: Collection[str]) -> Link:
    unheard = {task: queue for task, queue in wanted.items() if consumed and queue not in consumed}
    if unheard:
        queues = ", ".join(sorted(set(unheard.values())))
        return failed(
            "workers",
            f"{names}; none takes tasks from {queues}, where {' and '.join(unheard)} goes",
            f"Start a worker with -Q {queues.replace(', ', ',')}, or correct task_routes.",
        )
    return fine("workers", f"{names}; queue {', '.join(sorted(set(wanted.values())))}")


def check_queues(app: Celery, *, timeout_seconds: float) -> Link | None:
    """Where mails are in quorum queues: what waits there waits in RabbitMQ. None where they are not."""
    if app.conf.task_always_eager or quorum_queue(app) is None:
        return None
    with app.connection_for_write(connect_timeout=timeout_seconds) as connection:
        if not can_delay(connection):
            return failed(
                "queues",
                "there are quorum queues, and RabbitMQ lacks the exchange of Celery's native delayed delivery: retries "
                "cannot be published",
                "Start a worker of Celery 5.5 or newer that has the quorum queue in its settings: it declares it.",
            )
    queues = sorted({_queue_of(app, task) for task in (task_names.SEND, task_names.DELIVER, task_names.DISPATCH)})
    held = [queue for queue in queues if waits_in_worker(app, queue)]
    if held:
        return warning(
            "queues",
            f"{', '.join(held)}: quorum queues with a direct exchange. Retries of emails wait in RabbitMQ; any other "
            f"task with a countdown holds up its worker",
            f"Set {TOPIC_SETTINGS}, unless no task has a countdown.",
        )
    return fine("queues", f"{', '.join(queues)}; with quorum queues, what waits does so in RabbitMQ")


def _names(answers: Iterable[Any]) -> set[str]:
    """What a worker names in an answer: tasks as `name` or `name [rate_limit=10/m]`, queues as dicts."""
    return {each["name"] if isinstance(each, Mapping) else str(each).split(" [")[0] for each in answers}


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
            "Restore them from a backup, or delete them: their emails are not followed any more. See the worker's log.",
        )
    return fine("store", found)


def check_waiting(runtime: Runtime, server: str) -> Link:
    """No mail waits for the proxy, as far as its workers have noted; else why, and what ends it."""
    trouble = trouble_of(runtime, server)
    if trouble is None:
        return fine("mails", "none waits for this proxy")
    since, at = (
        datetime.fromtimestamp(moment, timezone.utc).strftime("%H:%M UTC") for moment in (trouble.since, trouble.at)
    )
    found = f"{trouble.waiting}, since {since}, last tried at {at}: {trouble.problem}"
    remedy = trouble.remedy or "They are tried again by themselves; the links below say what is wrong now."
    return warning("mails", found, remedy)


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
