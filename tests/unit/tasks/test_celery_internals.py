"""Canaries: what we use of Celery beyond its documented interface is still there. Each names who depends on it."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import Celery, states
from celery.app import trace
from celery.app.amqp import AMQP
from celery.app.task import Context
from celery.bin.worker import worker
from celery.bootsteps import Blueprint
from celery.utils.dispatch import Signal

from celery_mailproxy.maintenance.step import MaintenanceStep
from celery_mailproxy.tasks.results.ignored_runs import _IGNORED


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_celery_still_builds_a_tracer_with_an_info_class_of_ours() -> None:
    """`tasks/results/ignored_runs.py`."""
    assert {"Info", "app"} <= parameters(trace.build_tracer)
    assert {"task", "req"} <= parameters(trace.TraceInfo.handle_ignore)
    assert trace.trace_ok_t._fields[:2] == ("retval", "info")
    assert "__trace__" in inspect.getsource(trace.fast_trace_task), "a process runs a task by its __trace__"


def test_billiard_still_carries_an_exception_by_these_attributes() -> None:
    """`tasks/results/ignored_runs.py` makes one without a traceback."""
    try:
        raise ValueError("one")
    except ValueError:
        assert {"type", "exception", "traceback", "internal"} <= set(vars(ExceptionInfo()))
    assert pickle.loads(pickle.dumps(_IGNORED)).traceback == ""


def test_celery_still_gives_a_requests_options_back() -> None:
    """`dispatch/resumer.py` keeps them to publish the same message again."""
    request = Context({"id": "t1", "root_id": "r1", "group": "g1", "errbacks": [], "callbacks": []})
    assert {"task_id", "root_id", "group_id", "link", "link_error", "chain", "chord"} <= set(
        request.as_execution_options()
    )


def test_celery_still_builds_a_message_apart_from_publishing_it() -> None:
    """`dispatch/resumer.py` publishes a task's message without a subscription to its result."""
    assert {"task_id", "name", "args", "kwargs", "callbacks", "errbacks", "argsrepr"} <= parameters(AMQP.as_task_v2)
    app = Celery("canary", set_as_current=False)
    assert {"producer", "name", "message", "serializer", "headers", "queue", "routing_key"} <= parameters(
        app.amqp.send_task_message
    )


def test_celery_still_gives_what_a_caller_adds_to_a_message() -> None:
    """`tasks/sending/outbox.py` keeps a message as `apply_async` would have published it."""
    app = Celery("canary", set_as_current=False)

    @app.task(name="canary.one", time_limit=9)  # type: ignore[untyped-decorator]
    def task() -> None: ...

    assert task._get_exec_options()["time_limit"] == 9
    assert isinstance(app.thread_oid, str)
    assert app.current_worker_task is None
    assert {"group_index", "stamped_headers", "origin"} <= parameters(AMQP.as_task_v2)
    # `Task.replace` adds it from Celery 5.4 on; whatever else is given, Celery 5.3 passes over.
    assert {"replaced_task_nesting", "options"} & parameters(AMQP.as_task_v2)
    assert {"options", "name", "args", "kwargs"} <= parameters(app.amqp.router.route)


def test_celery_still_takes_a_workers_step_by_its_name() -> None:
    """`tasks/results/worker_hooks.py` names the step of the maintenance, which stands above it."""
    name, step = Blueprint(name="canary").load_step("celery_mailproxy.maintenance.step:MaintenanceStep")
    assert (name, step) == ("celery_mailproxy.maintenance.step.MaintenanceStep", MaintenanceStep)


def test_celery_still_ends_a_task_in_these_states() -> None:
    """`tasks/results/deliver_task.py` makes a record a tombstone in them."""
    assert set(states.READY_STATES) == {states.SUCCESS, states.FAILURE, states.REVOKED}


def test_celery_still_keeps_a_signals_receivers_as_pairs() -> None:
    """`dispatch/signals.py` calls them one by one."""
    signal = Signal(name="canary", providing_args=set())

    def handler(**kwargs: Any) -> None: ...

    signal.connect(handler, weak=False)
    (((_, sender_id), receiver),) = signal.receivers
    assert (sender_id, receiver) == (id(None), handler)


def test_celery_still_lets_us_add_an_option_to_its_worker() -> None:
    """`receiver/listener.py` adds `--mailproxy-listen`."""
    assert isinstance(worker.params, list)
    assert worker.params
    assert all(hasattr(parameter, "name") for parameter in worker.params)
