"""`ConfirmedTask`: the base of every task of this package. The broker confirms what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Task

from ..runtime import get_runtime
from .failing import note_failure

__all__ = ["ConfirmedTask"]


class ConfirmedTask(Task):  # type: ignore[misc]
    """A task whose publications, retries among them, count only once RabbitMQ has them."""

    abstract = True

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        """As `Task.apply_async`. Raises kombu's `OperationalError`, and `MessageTooLarge`, with nothing published."""
        with get_runtime(self.app).producers.confirmed(options) as confirmed:
            return super().apply_async(args, kwargs, task_id=task_id, **confirmed)

    def on_failure(self, *args: Any, **kwargs: Any) -> None:
        """Celery's hook, before its signal `task_failure`."""
        note_failure(self)
        super().on_failure(*args, **kwargs)

    def on_retry(self, *args: Any, **kwargs: Any) -> None:
        """Celery's hook, before its signal `task_retry`."""
        note_failure(self)
        super().on_retry(*args, **kwargs)
