"""What the legacy transport still has to send: the messages in its queues, and the tasks that workers hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from ..conf.settings import configured_django_settings

__all__ = ["Held", "held_by_workers", "legacy_queues", "legacy_tasks", "migrated_tasks", "queue_length"]

#: django-celery-email's own name of its task; the drain registers the same.
_DJANGOS_TASK = "djcelery_email_send_multiple"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Task → how many of it lie with workers that answered: they run, are about to, or wait for their next try."""

    workers: int
    tasks: Mapping[str, int]


def migrated_tasks(app: Celery) -> dict[str, Any]:
    """The tasks that `migrate` has wrapped, by name, as far as this process has imported them."""
    return {name: task for name, task in sorted(app.tasks.items()) if getattr(task.run, "is_migrated", False)}


def legacy_tasks(app: Celery) -> list[str]:
    """The names of the tasks that use the legacy transport: django-celery-email's, and those that are migrated."""
    names = list(migrated_tasks(app))
    if (config := _djangos_config()) is not None:
        names.insert(0, str(config.get("name") or _DJANGOS_TASK))
    return names


def legacy_queues(app: Celery) -> list[str]:
    """Where those tasks wait; the application's default queue where none is known."""
    queue = (_djangos_config() or {}).get("queue")
    names = list(migrated_tasks(app)) if queue else legacy_tasks(app)
    queues = [*([str(queue)] if queue else []), *(_queue_of(app, name) for name in names)]
    return list(dict.fromkeys(queues)) or [str(app.conf.task_default_queue)]


def queue_length(app: Celery, queue: str) -> int | None:
    """How many messages wait in a queue, 0 where there is none; None where the broker does not say.

    What a worker has taken is not among them: see `held_by_workers`.
    """
    with app.connection_for_read() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
            channel: Any = connection.default_channel
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors as exc:
            # Any other answer says nothing of what is in it.
            return 0 if str(getattr(exc, "reply_code", "")) == "404" else None
        except (OperationalError, *connection.connection_errors):
            return None


def held_by_workers(app: Celery, tasks: Collection[str], *, timeout_seconds: float = 1.0) -> Held | None:
    """How many of these tasks workers hold, old workers among them; None where none answers.

    A task with an eta, such as a retry, has left its queue: it lies with a worker until then.
    """
    errors = app.connection_for_read().connection_errors
    try:
        scheduled = app.control.inspect(timeout=timeout_seconds).scheduled()
        if not scheduled:
            return None
        # Nobody else is waited for, but these are.
        inspect = app.control.inspect(timeout=3 * timeout_seconds, limit=len(scheduled))
        # As a task goes through them: one that goes on meanwhile is counted twice, but not missed.
        answers = (scheduled, inspect.reserved() or {}, inspect.active() or {})
    except (OperationalError, *errors):
        return None
    if any(len(answer) < len(scheduled) for answer in answers):
        return None
    seen = Counter(name for answer in answers for name in _names(answer))
    return Held(workers=len(scheduled), tasks={name: seen[name] for name in tasks})


def _names(answer: Mapping[str, Any]) -> Iterator[str]:
    for entries in answer.values():
        # A worker that failed says so in a dict.
        for entry in entries if isinstance(entries, list) else ():
            yield str(entry.get("request", entry).get("name"))


def _queue_of(app: Celery, name: str) -> str:
    """Where a task is published: by itself, or as `task_routes` says."""
    own = getattr(app.tasks.get(name), "queue", None)
    queue = own or app.amqp.router.route({}, name).get("queue")
    return str(getattr(queue, "name", queue) or app.conf.task_default_queue)


def _djangos_config() -> Mapping[str, Any] | None:
    """CELERY_EMAIL_TASK_CONFIG; None without Django."""
    if (settings := configured_django_settings()) is None:
        return None
    config = getattr(settings, "CELERY_EMAIL_TASK_CONFIG", None)
    # Where it is wrong, a system check says so.
    return config if isinstance(config, Mapping) else {}
