"""With Django every name in `conf/task_names.py` is a task's, those of `celery_mailproxy.django` among them."""

from __future__ import annotations

from celery import Celery

import celery_mailproxy.maintenance.tasks
import celery_mailproxy.tasks  # noqa: F401 - registers the tasks
from celery_mailproxy.conf import task_names


def test_a_project_registers_every_task_under_its_name() -> None:
    app = Celery("project", set_as_current=False)
    # As a project does: each application's module `tasks`, and our drain's where it is installed.
    app.autodiscover_tasks(force=True)
    ours = {name for name in app.tasks if name.startswith("celery_mailproxy.")}
    assert ours == {getattr(task_names, name) for name in task_names.__all__}
