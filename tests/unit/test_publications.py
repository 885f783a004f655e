"""Whatever this package publishes is confirmed before it counts: each place that publishes, and how it does so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

import celery_mailproxy.tasks  # noqa: F401
from celery_mailproxy.conf import task_names
from celery_mailproxy.tasks.confirmed_task import ConfirmedTask

PACKAGE = Path(__file__).parents[2] / "celery_mailproxy"

#: The calls by which something gets to a broker.
CALLS = frozenset({"apply_async", "basic_publish", "delay", "publish", "retry", "send_task", "send_task_message"})

OUR_TASK = "a task of ours, thus a ConfirmedTask"
BASE_TASK = "ends in ConfirmedTask.apply_async"
OURS = "no publication: a function of ours, whose own calls are in this list"

#: module → call → why the broker has confirmed what it publishes when the next line runs.
ALLOWED = {
    "broker/confirming.py": {"super().publish": "the producer that confirms"},
    "cli/send.py": {"app.tasks[task_names.SEND].apply_async": OUR_TASK},
    "dispatch/callbacks.py": {
        "signature(dict(callback), app=self._app).apply_async": "confirm_all: a user's task, or a chain of them",
    },
    "dispatch/healing.py": {"task.apply_async": "with a producer of Producers.acquire"},
    "dispatch/notifying.py": {"self._callbacks.publish": OURS},
    "dispatch/postponing.py": {"task.apply_async": "with a producer of Producers.acquire"},
    "dispatch/resumer.py": {
        "self.publish": OURS,
        "amqp.send_task_message": "with a producer of Producers.acquire",
    },
    "django/admin/actions.py": {"replay_handlers.delay": OUR_TASK},
    "django/backend/publishing.py": {"call.task.apply_async": OUR_TASK},
    "django/drain/admin.py": {"task.apply_async": OUR_TASK},
    "django/drain/undecodable.py": {"producer.publish": "a producer of Producers.acquire"},
    "receiver/publisher.py": {"task.apply_async": "with a producer of Producers.acquire"},
    "tasks/confirmed_task.py": {"super().apply_async": "within Producers.confirmed"},
    "tasks/results/storing.py": {"task.apply_async": "with a producer of Producers.acquire"},
    "tasks/results/stalled.py": {"resumer_of(runtime).publish": OURS},
    "tasks/sending/base_tasks.py": {"super().apply_async": BASE_TASK},
    "tasks/sending/outbox.py": {"app.amqp.send_task_message": "with a producer of Producers.acquire"},
    "tasks/sending/retrying.py": {"task.retry": "confirm_all: the task may be a migrated one of the user's"},
}


def calls() -> Iterator[tuple[str, str]]:
    """Each place in the package that may publish: (module, what is called)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        if module.startswith("testing/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                yield module, ast.unparse(node.func)


def test_every_publication_is_one_that_the_broker_confirms() -> None:
    allowed = {(module, call) for module, reasons in ALLOWED.items() for call in reasons}
    assert set(calls()) == allowed


@pytest.mark.parametrize(
    "name",
    [
        task_names.SEND,
        task_names.SEND_MANY,
        task_names.DELIVER,
        task_names.DELIVER_FROM_CHUNK,
        task_names.DISPATCH,
        task_names.HEAL,
        task_names.PRUNE,
        task_names.RESUME_STALLED,
    ],
)
def test_every_task_of_ours_is_published_with_confirmation(name: str) -> None:
    assert isinstance(Celery(set_as_current=False).tasks[name], ConfirmedTask)


def test_every_shared_task_says_its_base() -> None:
    """Those of Django are looked at in `tests/django`."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "shared_task":
                assert "base" in ast.unparse(node), f"{path}:{node.lineno}"
