"""The Celery tasks of the drain; `app.autodiscover_tasks()` finds them, and `apps.py` imports them besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from celery import Task, shared_task
from django.conf import settings as django_settings

from ...conf import task_names
from ...errors import ConfigurationError, UnforeseenError
from ...tasks.confirmed_task import ConfirmedTask
from ...tasks.sending.base_tasks import SendTask
from ...tasks.sending.guard import guarded
from ...tasks.sending.retrying import DURABLE, TIME_LIMITS, retry_later
from ..backend.celery_email import CeleryEmailSettings
from .draining import TRANSIENT, drain, keep_undrained, send_letter
from .models import DeadLetter
from .quiet_request import HIDDEN

__all__ = ["TASK_NAME", "send_dead_letter", "send_multiple"]

#: django-celery-email's own name of its task.
_DEFAULT_NAME = "djcelery_email_send_multiple"


class DrainTask(SendTask):
    """The base of the task: its arguments are not those of one mail, and are shown nowhere."""

    abstract = True

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """In a worker Celery calls this with what was queued, where nothing may be taken for an argument of its own."""
        return super().__call__(*args, **kwargs) if self.request.called_directly else self.run(*args, **kwargs)

    Request = "celery_mailproxy.django.drain.quiet_request:QuietRequest"

    def signature(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, *rest: Any, **options: Any) -> Any:
        """As `Task.signature`."""
        return Task.signature(self, args, kwargs, *rest, **options)

    def apply_async(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """As `Task.apply_async`. What lies in a queued task is found out in the worker."""
        return self._publish(args, kwargs or {}, task_id, {**options, **HIDDEN})

    def message_ids(self, request: Any) -> list[str]:
        """None: which mails lie in a queued task is found out when it runs."""
        return []

    def conclude(self, error: UnforeseenError) -> None:
        """Keep the mails of a run that ends for that error as dead letters; see `guarded`."""
        _transient(self, lambda: keep_undrained(self, error))
        raise error


def _configuration() -> dict[str, Any]:
    """The task's name, and where it is published, as CELERY_EMAIL_TASK_CONFIG has them."""
    config = getattr(django_settings, "CELERY_EMAIL_TASK_CONFIG", None)
    name = config.get("name") if isinstance(config, Mapping) else None
    try:
        attributes = dict(CeleryEmailSettings.load().publish_options)
    except ConfigurationError:
        # The system check says so (E001), and the tasks themselves; nothing may fail where they are only imported.
        attributes = {}
    # For a mail of the old queue there is no time after which it is not to be sent.
    attributes.pop("expires", None)
    return {**attributes, "name": str(name or _DEFAULT_NAME)}


_CONFIGURATION = _configuration()

#: The task's name. It is there before any app is: asking the task itself would have Celery load the project's.
TASK_NAME: str = _CONFIGURATION["name"]


@shared_task(
    **{
        **_CONFIGURATION,
        **DURABLE,
        **TIME_LIMITS,
        "bind": True,
        "base": DrainTask,
        "typing": False,
        "ignore_result": True,
    }
)
def send_multiple(self: Any, /, *args: Any, **kwargs: Any) -> int:
    """Submit the mails of a task that django-celery-email has queued; the number of those that the proxy has.

    Takes whatever was queued. A mail that cannot be read, or that the proxy will never have, becomes a dead letter.
    """
    number: int = guarded(self, lambda: _transient(self, lambda: drain(self, args, kwargs)), addressees={})
    return number


@shared_task(bind=True, base=ConfirmedTask, name=task_names.SEND_DEAD_LETTER, typing=False, **DURABLE, **TIME_LIMITS)
def send_dead_letter(self: Any, letter_id: int) -> bool:
    """Submit a dead letter once more; whether the proxy has it. Then the letter is deleted."""

    def send() -> bool:
        letter = DeadLetter.objects.filter(pk=letter_id).first()
        return letter is not None and send_letter(self, letter)

    is_sent: bool = guarded(self, lambda: _transient(self, send), addressees={})
    return is_sent


def _transient(task: Any, run: Callable[[], Any]) -> Any:
    """What `run` returns. A database that is away is waited for, like the store."""
    try:
        return run()
    except TRANSIENT as exc:
        raise retry_later(task, exc, is_lasting=True) from exc
