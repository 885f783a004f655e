"""A whole installation on real parts: broker, store, worker with its listener, and a proxy that reports to it."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import redis
from celery import Celery
from kombu import pools

import celery_mailproxy.tasks  # noqa: F401 - registers the shared tasks
from celery_mailproxy.migration.backlog import queue_length
from celery_mailproxy.runtime import forget_runtime, get_delivery
from celery_mailproxy.testing.ports import free_port

from .held_tasks import held_tasks
from .json_lines import JsonLines
from .proxy_tenant import ProxyTenant
from .services import CeleryWorker
from .waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    # Python 3.10 has no typing.Self.
    from typing_extensions import Self

__all__ = ["MailStack"]

MODULE = "tests.harness.mail_app"


class MailStack:
    """Enter it to start the worker; `app` publishes from the test's own process.

    Args:
        tenant: a tenant of a running proxy; its reports will come to the worker's listener.
        broker_url: `redis://…` or `amqp://…`.
        proxy_url: by default the tenant's proxy; a relay's URL to interfere.
        conf: further Celery configuration, JSON-able.
        options: further options of `celery worker`.
        module: the worker's application; it imports `held_tasks`, for `drain()`.
        env: added to the worker's environment.
    """

    def __init__(
        self,
        tenant: ProxyTenant,
        *,
        broker_url: str,
        proxy_url: str | None = None,
        conf: dict[str, Any] | None = None,
        options: tuple[str, ...] = (),
        module: str = MODULE,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.tenant = tenant
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mail-stack-")))
        self.events_path = self.folder / "events.jsonl"
        self._events = JsonLines(self.events_path)
        self.port = free_port()
        self.conf = self._configuration(broker_url, proxy_url or tenant.proxy.url) | (conf or {})
        self.app = Celery("publisher", set_as_current=False)
        self.app.conf.update(self.conf)
        self.worker = CeleryWorker(
            module,
            options=["--concurrency", "2", "-Q", self.queue, "--mailproxy-listen", f"127.0.0.1:{self.port}", *options],
            env={"TEST_EVENTS": str(self.events_path), "TEST_CONF": json.dumps(self.conf), **(env or {})},
            # A broker serves the workers of several stacks.
            name=f"worker-{tenant.suffix}",
        )

    @property
    def queue(self) -> str:
        return f"mails-{self.tenant.suffix}"

    @property
    def report_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mail-proxy/sync"

    def _configuration(self, broker_url: str, proxy_url: str) -> dict[str, Any]:
        conf: dict[str, Any] = {
            "broker_url": broker_url,
            "task_default_queue": self.queue,
            "result_backend": f"file://{self.folder}/results",
            "mail_proxy_url": proxy_url,
            "mail_proxy_token": self.tenant.proxy.token,
            "mail_proxy_tenant": self.tenant.id,
            "mail_proxy_account": self.tenant.account_id,
            "mail_proxy_sync_token": self.tenant.sync_token,
            "mail_proxy_from_email": "Shop <shop@example.com>",
            "mail_proxy_store": f"sqlite:///{self.folder}/deliveries.sqlite3",
            "mail_proxy_retry_max_seconds": 1,
            # Answers that a test holds back are waited for; who gave them up would submit again.
            "mail_proxy_timeout_seconds": 60,
        }
        if broker_url.startswith("redis"):
            # What a dead worker had is given out again after an hour, or when `kill_worker` says so; kombu looks for
            # it seldom; not at all for five minutes, where the worker was killed while it looked.
            conf["broker_transport_options"] = {
                "visibility_timeout": 3600,
                "unacked_mutex_expire": 2,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            }
        return conf

    def __enter__(self) -> Self:
        (self.folder / "results").mkdir()
        self._stack.callback(self.worker.close)
        try:
            self.worker.start()
        except BaseException:
            # Else the folders that are left fail another test.
            self._stack.close()
            raise
        self.tenant.add(f"http://127.0.0.1:{self.port}")
        return self

    def __exit__(self, *error: object) -> None:
        self.tenant.add(None, active=False)
        forget_runtime(self.app)
        # Results that hang in an error's traceback die later; they would connect anew then, only to unsubscribe.
        self.app.backend.remove_pending_result = lambda result: None
        if (consumer := getattr(self.app.backend, "result_consumer", None)) is not None:
            consumer.stop()
        if (client := vars(self.app.backend).get("client")) is not None:
            # A Redis backend keeps its connections; else they are closed, with a warning, in the midst of a later test.
            client.connection_pool.disconnect()
        self.app.close()
        # Pools are kept for each broker, not for each app: the next stack on the same one would be handed closed ones.
        pools.reset()
        self._stack.close()

    def send(self, *, callbacks: bool = True, **mail: Any) -> Any:
        """`send_via_proxy.delay` with the usual arguments; the callbacks' tags are sent, error and deferred."""
        if callbacks:
            mail |= {
                f"on_{tag}": self.app.signature(f"{MODULE}.noted", kwargs={"tag": tag})
                for tag in ("sent", "error", "deferred")
            }
        arguments = {"to": ["to@example.com"], "subject": "Subject", "body": "Body", **mail}
        return self.app.tasks["celery_mailproxy.send_via_proxy"].delay(**arguments)

    def send_with_id(self, task_id: str, **mail: Any) -> Any:
        arguments = {"to": ["to@example.com"], "subject": "Subject", "body": "Body", **mail}
        return self.app.tasks["celery_mailproxy.send_via_proxy"].apply_async(kwargs=arguments, task_id=task_id)

    def post_reports(self, *entries: dict[str, Any]) -> httpx.Response:
        """A report POST as the proxy sends it."""
        headers = {"Authorization": f"Bearer {self.tenant.sync_token}"}
        body = {"delivery_report": list(entries)}
        return httpx.post(self.report_url, json=body, headers=headers, timeout=PATIENCE_SECONDS, trust_env=False)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was told so far; each line is read once."""
        return self._events.events

    def told(self, message_id: str) -> Counter[str]:
        """What was told of a message, and how often: `{"mail_sent": 1, "noted:sent": 1, …}`."""
        return Counter(event["name"] for event in self.events if event["id"] == message_id)

    def delivery(self, message_id: str) -> Any:
        return get_delivery(message_id, app=self.app)

    def wait_until(self, condition: Callable[[], Any], *, what: str = "") -> Any:
        """Wait for the condition and return its value; the error shows what was told and the worker's last lines."""
        nudge_at = time.monotonic() + 2

        def value_or_nudge() -> Any:
            nonlocal nudge_at
            value = condition()
            if not value and time.monotonic() > nudge_at:
                # What the proxy could not report it tries again within five minutes, or when it is told to.
                nudge_at = time.monotonic() + 1
                with suppress(httpx.HTTPError):
                    self.tenant.proxy.run_now(self.tenant.id)
            return value

        def problem() -> str:
            log = "\n".join(self.worker.log.splitlines()[-30:])
            return f"{what}\n{self.events}\n{log}"

        return wait_until(value_or_nudge, problem, pause_seconds=0.05)

    def wait_told(self, message_id: str, *names: str) -> None:
        self.wait_until(lambda: set(names) <= self.told(message_id).keys(), what=f"{names} of {message_id}")

    def drain(self) -> None:
        """Wait until all that is under way has come to its end. What has not been told by then will not be told.

        The proxy has sent what is due and the worker has taken its reports; no task is in the queue or in the worker's
        hands, not even until its next try. What the proxy is to send or to report at a later time, such as a deferred
        mail or a plan with a delay, is not waited for. The worker has to run.
        """
        self.wait_until(self._is_drained, what="the end of all that is under way")

    def _is_drained(self) -> bool:
        # A task that the worker has neither before nor after, and has not begun between, was nowhere else meanwhile
        # than where is looked between: what it left behind, and reports that became tasks, are in the queue by then.
        before = held_tasks(self.app, self.worker.node)
        return (
            before is not None
            and before.held == 0
            and not self.tenant.under_way()
            and queue_length(self.app, self.queue) == 0
            and not self._unacknowledged()
            and held_tasks(self.app, self.worker.node) == before
        )

    def _unacknowledged(self) -> int:
        """How many messages of the queue a Redis keeps for workers, dead ones among them. RabbitMQ keeps no dead's."""
        if not self.conf["broker_url"].startswith("redis"):
            return 0
        with redis.Redis.from_url(self.conf["broker_url"]) as client:
            kept = [json.loads(each) for each in client.hvals("unacked")]
        return sum(routing_key == self.queue for _, _, routing_key in kept)

    def kill_worker(self) -> None:
        """SIGKILL to all of the worker; what it had is given out again, by Redis as if the time for that had passed."""
        self.worker.kill()
        self.give_out_again()

    def give_out_again(self) -> None:
        """Let a Redis give out what workers have, as if the time for that had passed."""
        if self.conf["broker_url"].startswith("redis"):
            with redis.Redis.from_url(self.conf["broker_url"]) as client:
                for tag in client.zrange("unacked_index", 0, -1):
                    client.zadd("unacked_index", {tag: 1}, xx=True)
                # Who dies while it looks for such tasks keeps the others from it.
                client.delete("unacked_mutex")

    def wait_acknowledged(self) -> None:
        """Until the worker has no task of a Redis in hand: with one, kombu ends it when that Redis goes away."""
        self.wait_until(lambda: not self._unacknowledged(), what="all is acknowledged")

    @contextmanager
    def killed_when(
        self, condition: Callable[[], Any], *, what: str, held: AbstractContextManager[Any] | None = None
    ) -> Iterator[None]:
        """The block begins something; once the condition holds the worker is killed, and then another one started.

        `held` keeps something back until it is killed, such as the proxy's answers.
        """
        with held or nullcontext():
            yield
            self.wait_until(condition, what=what)
            self.kill_worker()
        self.worker.start()

    def hang_at(self, name: str, task_id: str) -> Path:
        """Make the task hang at `postrun`, `publish`, `join`, `resume` or `suppress` (see `mail_app`).

        The returned file exists once it does.
        """
        gate = self.events_path.with_name(f"{task_id}.{name}.hang")
        gate.touch()
        return gate.with_suffix(".hung")

    def hang_where_told(self, message_id: str, kind: str) -> Path:
        """Make the handler of this report hang; the returned file exists once it does."""
        gate = self.events_path.with_name(f"{message_id}.{kind}.hang")
        gate.touch()
        return gate.with_suffix(".hung")

    @contextmanager
    def held_where_told(self, message_id: str, kind: str, *, is_stubborn: bool = False) -> Iterator[Path]:
        """Within the block the handler of this report does not come to an end; a stubborn one ignores time limits."""
        gate = self.events_path.with_name(f"{message_id}.{kind}.{'stubborn' if is_stubborn else 'hold'}")
        gate.touch()
        try:
            yield gate
        finally:
            gate.unlink(missing_ok=True)
