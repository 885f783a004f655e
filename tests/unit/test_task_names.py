"""Every Celery task of the package goes by a name from `conf/task_names.py`, and by no other."""

from __future__ import annotations

from celery import current_app

import celery_mailproxy.maintenance.tasks
import celery_mailproxy.tasks  # noqa: F401 - registers the tasks
from celery_mailproxy.conf import task_names

_NAMES = {name: getattr(task_names, name) for name in task_names.__all__}


#: The tasks of `celery_mailproxy.django`: see `tests/django/test_task_names.py`.
_DJANGOS = {
    task_names.DISCARD_CONTENT,
    task_names.REPLAY_HANDLERS,
    task_names.SEND_DEAD_LETTER,
    task_names.SEND_KEPT,
    task_names.SEND_MIGRATING,
}


def test_every_registered_task_has_its_name_there() -> None:
    ours = {name for name in current_app.tasks if name.startswith("celery_mailproxy.")}
    assert ours - _DJANGOS == set(_NAMES.values()) - _DJANGOS


def test_no_two_tasks_share_a_name() -> None:
    assert len(set(_NAMES.values())) == len(_NAMES)
