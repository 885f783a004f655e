"""Publishing a suspended task's message again, so that Celery itself completes the result.

The message is taken down while the task runs, kept in the store, and published with one more header, `RESUME_HEADER`:
the message id and the token that the resumed run claims the outcome with. Everything that follows (the result, the
chain, the chord, links, task signals, events) is Celery's own.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from celery import Celery
from celery.app.task import Context
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu import serialization
from kombu.exceptions import OperationalError

from ..deliveries.delivery import Delivery
from ..deliveries.report import DeliveryReport
from ..deliveries.stores.base import DeliveryStore
from ..deliveries.suspension import Step, Suspension, SuspensionState
from ..errors import StoreError, visible
from ..runtime import Runtime, get_runtime
from .events import events_of

__all__ = [
    "OUTBOX_HEADER",
    "RESUME_HEADER",
    "Resumer",
    "arguments_of",
    "capture_message",
    "expiry_of",
    "holds_arguments",
    "request_of",
    "resumer_of",
]

logger = logging.getLogger(__name__)

#: The header of a message that resumes a task: `{"id": message id, "token": token}`.
RESUME_HEADER = "mail_proxy_resume"

#: The header of a message that is kept in the outbox as well: the number of its copy. What resumes a task has none.
OUTBOX_HEADER = "mail_proxy_outbox"

#: Options of the first message that must not be in the second: it would be revoked or killed for the time it waited.
#: Only one that submits the mail again gets its `expires` back.
_DROPPED = ("expires", "time_limit", "soft_time_limit", "task_id")

#: Options of a message that a result backend looks for in a request.
_REQUESTED = ("chain", "chord", "group_index", "ignore_result", "parent_id", "reply_to", "retries", "root_id")

#: How long the end of a message waits for a state in between that is just being written.
_WRITER_PATIENCE_SECONDS = 2.0

#: A writer that has been at it for longer than this has died.
_WRITER_LEASE_SECONDS = 30.0


def capture_message(task: Any, *, ignore_result: bool, args_bytes: int, queue: str | None) -> str:
    """What publishes the running task's message again, as JSON text without a line break.

    Arguments of more than `args_bytes` are left out: the resumed run needs none. `queue` is where the resumed run
    goes; None: where this one came from.
    """
    request = task.request
    options = {
        name: value
        for name, value in request.as_execution_options().items()
        if name not in _DROPPED and (value is not None or name in (request.stamped_headers or ()))
    }
    options["ignore_result"] = ignore_result
    if headers := options.get("headers"):
        options["headers"] = {name: value for name, value in headers.items() if name != OUTBOX_HEADER}
    route = {"queue": queue} if queue else _route(request.delivery_info or {})
    priority = (request.delivery_info or {}).get("priority")
    if priority is not None:
        route["priority"] = priority
    serializer = task.serializer or task.app.conf.task_serializer
    content = [request.args or (), request.kwargs or {}]
    record = _dump([*content, options], serializer)
    if len(record["b"] if "b" in record else json.dumps(record["j"][:2])) > args_bytes:
        record = _dump([(), {}, options], serializer)
    known = {"n": task.name, "s": serializer, "r": route, "h": request.hostname, **record}
    if request.expires:
        known["x"] = str(request.expires)
    return json.dumps(known, separators=(",", ":"))


def holds_arguments(suspension: Suspension) -> bool:
    """Whether the task's message has been kept whole, so that publishing it can submit the mail again."""
    args, kwargs, _ = _load(json.loads(suspension.message)) if suspension.message else ((), {}, {})
    return bool(args or kwargs)


def arguments_of(suspension: Suspension) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """The name of the suspended task, and the arguments of its message: none where they were too large to be kept."""
    record = json.loads(suspension.message or "{}")
    args, kwargs, _ = _load(record) if record else ((), {}, {})
    return str(record.get("n", "")), tuple(args), dict(kwargs)


def request_of(suspension: Suspension) -> tuple[str, Context]:
    """The name of the suspended task, and its request as a result backend needs it: links have been published.

    With `result_extended` a backend writes all that a request says of its task with each state: what is not here would
    be wiped. The arguments are here unless they were too large to be kept.
    """
    record = json.loads(suspension.message or "{}")
    args, kwargs, options = _load(record)
    headers = options.get("headers") or {}
    stamped = options.get("stamped_headers") or ()
    request = Context(
        headers,
        headers=headers,
        args=args,
        kwargs=kwargs,
        **_shown(args, kwargs),
        stamped_headers=stamped,
        stamps={name: options.get(name) for name in stamped},
        id=suspension.owner,
        task=record["n"],
        hostname=record.get("h"),
        # What the rpc:// backend needs to find whoever waits.
        correlation_id=suspension.owner,
        errbacks=options.get("link_error"),
        group=options.get("group_id"),
        delivery_info=_delivery_info(record.get("r") or {}),
        **{name: options.get(name) for name in _REQUESTED},
    )
    return record["n"], request


def expiry_of(suspension: Suspension) -> datetime | None:
    """When the task expires unless its mail has been submitted by then; None: never."""
    expires = json.loads(suspension.message or "{}").get("x")
    if expires is None:
        return None
    expiry: datetime = maybe_make_aware(maybe_iso8601(expires))
    return expiry


def _route(delivery_info: Mapping[str, Any]) -> dict[str, Any]:
    exchange = delivery_info.get("exchange") or ""
    routing_key = delivery_info.get("routing_key") or ""
    if not exchange:
        return {"queue": routing_key}
    # Also an exchange of Celery's native delayed delivery: by the same key it now passes a message on at once, to where
    # the first one went. Which queue that was is not in the key.
    return {"exchange": exchange, "routing_key": routing_key}


def _delivery_info(route: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker says of how a message came that was published by this route."""
    return {"exchange": "", "routing_key": route.get("queue", ""), **route}


def _shown(args: Any, kwargs: Any) -> dict[str, str]:
    """What logs, events and result backends show of arguments: nothing of the mail."""
    return {"argsrepr": "(…)" if args else "()", "kwargsrepr": "{…}" if kwargs else "{}"}


def _dump(content: Any, serializer: str) -> dict[str, Any]:
    content_type, encoding, payload = serialization.dumps(content, serializer)
    if content_type == "application/json":
        # As it is, and not as a text in a text: every quote in it would take two characters.
        return {"j": json.loads(payload)}
    payload = payload if isinstance(payload, bytes) else payload.encode()
    return {"t": content_type, "e": encoding, "b": b64encode(payload).decode()}


def _load(record: Mapping[str, Any]) -> Any:
    if "j" in record:
        return serialization.loads(json.dumps(record["j"]), "application/json", "utf-8", accept=["application/json"])
    # Trusted: it comes from our own store, and was written from a message that a worker accepted.
    content_type = record["t"]
    return serialization.loads(b64decode(record["b"]), content_type, record["e"], accept=[content_type])


class Resumer:
    """Resumes suspended tasks, and writes their states in between. Used by the dispatcher, which needs no user code.

    `emit` sends a Celery event, `(type, fields) -> None`, and never raises.
    """

    def __init__(
        self, *, app: Celery, store: DeliveryStore, emit: Callable[[str, Mapping[str, Any]], None] | None = None
    ) -> None:
        self._app = app
        self._store = store
        self._emit = emit

    def resume(self, delivery: Delivery) -> bool:
        """Publish the message of a task whose mail has ended, where it is still to be done; whether it was.

        May be called any number of times: of several copies, one wins its claim. Where it was published the caller
        notes so (`Dispatched.is_resumed`), for many at once. Raises `StoreError` where a state in between is being
        written all the time, and kombu's `OperationalError` where the broker fails.
        """
        suspension = self._settled(delivery)
        if suspension is None or suspension.state is not SuspensionState.REPORTED or suspension.message is None:
            return False
        self.publish(delivery.message_id, suspension)
        return True

    def publish(self, message_id: str, suspension: Suspension, *, resumes: bool = True) -> None:
        """Publish a suspended task's message; without `resumes` as it first was, which submits the mail again."""
        record = json.loads(suspension.message or "{}")
        args, kwargs, options = _load(record)
        headers = dict(options.pop("headers", None) or {})
        if resumes:
            headers[RESUME_HEADER] = {"id": message_id, "token": str(uuid.uuid4())}
        elif "x" in record:
            options["expires"] = record["x"]
        amqp = self._app.amqp
        message = amqp.as_task_v2(
            suspension.owner,
            record["n"],
            args,
            kwargs,
            callbacks=options.pop("link", None),
            errbacks=options.pop("link_error", None),
            **_shown(args, kwargs),
            **options,
        )
        # Not `send_task`: that would subscribe this process to the result, and take its own task for the parent.
        with get_runtime(self._app).producers.acquire() as producer:
            try:
                amqp.send_task_message(
                    producer, record["n"], message, serializer=record["s"], headers=headers, **record["r"]
                )
            except producer.connection.connection_errors as exc:
                raise OperationalError(str(exc)) from exc

    def write_state(self, delivery: Delivery, state: str, report: DeliveryReport) -> None:
        """Write a state in between (DEFERRED) for whoever looks at the result; never on top of the final one."""
        suspension = delivery.suspension
        if suspension is None or suspension.message is None:
            return
        _, request = request_of(suspension)
        if not self._store.advance(delivery.message_id, Step.WRITE).is_allowed:
            return
        try:
            if self._emit is not None:
                # In the name of the worker that ran the task: an event belongs to a worker, and shows it as alive.
                fields = {"uuid": suspension.owner, "hostname": request.hostname, "message_id": delivery.message_id}
                self._emit(f"task-{state.lower()}", fields)
            if request.ignore_result:
                return
            meta = {
                "message_id": delivery.message_id,
                "at": report.at.isoformat(),
                "reason": report.reason,
                "attempts": delivery.attempts,
            }
            self._app.backend.store_result(suspension.owner, meta, state, request=request)
        except Exception as exc:
            # Handlers and callbacks come after it, and must not wait for a result backend.
            logger.warning(
                "message %s: the state %s of its result is not shown: %s",
                visible(delivery.message_id),
                state,
                type(exc).__name__,
            )
        finally:
            self._store.advance(delivery.message_id, Step.WRITTEN)

    def _settled(self, delivery: Delivery) -> Suspension | None:
        """The suspended result once nobody writes a state any more."""
        deadline = time.monotonic() + _WRITER_PATIENCE_SECONDS
        current: Delivery | None = delivery
        while current is not None and current.suspension is not None:
            if not current.suspension.writers or self._has_died(current.suspension):
                return current.suspension
            if time.monotonic() > deadline:
                raise StoreError(f"the state of message {delivery.message_id} is still being written")
            time.sleep(0.02)
            current = self._store.get(delivery.message_id)
        return None

    @staticmethod
    def _has_died(suspension: Suspension) -> bool:
        return time.time() - suspension.since.timestamp() > _WRITER_LEASE_SECONDS


def resumer_of(runtime: Runtime) -> Resumer:
    """The app's resumer in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Resumer:
    return Resumer(app=runtime.app, store=runtime.store, emit=events_of(runtime).emit)
