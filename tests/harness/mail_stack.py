"""A whole installation on real parts: broker, store, worker with its listener, and a proxy that reports to it."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from celery import Celery
from kombu import pools

import celery_mailproxy.tasks  # noqa: F401 - registers the shared tasks
from celery_mailproxy.runtime import forget_runtime, get_delivery
from celery_mailproxy.testing.ports import free_port

from .proxy_tenant import ProxyTenant
from .services import CeleryWorker

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
    """

    def __init__(
        self,
        tenant: ProxyTenant,
        *,
        broker_url: str,
        proxy_url: str | None = None,
        conf: dict[str, Any] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.tenant = tenant
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mail-stack-")))
        self.events_path = self.folder / "events.jsonl"
        self.port = free_port()
        self.conf = self._configuration(broker_url, proxy_url or tenant.proxy.url) | (conf or {})
        self.app = Celery("publisher", set_as_current=False)
        self.app.conf.update(self.conf)
        env = {"TEST_EVENTS": str(self.events_path), "TEST_CONF": json.dumps(self.conf)}
        listen = ["--mailproxy-listen", f"127.0.0.1:{self.port}"]
        self.worker = CeleryWorker(MODULE, options=["--concurrency", "2", "-Q", self.queue, *listen, *options], env=env)

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
            "mail_proxy_timeout_seconds": 3,
        }
        if broker_url.startswith("redis"):
            # Redis gives the tasks of a dead worker back only after this time, by default an hour, and kombu looks
            # for such tasks seldom; not at all for five minutes, where the worker was killed while it looked for them.
            conf["broker_transport_options"] = {
                "visibility_timeout": 4,
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
        return httpx.post(self.report_url, json=body, headers=headers, timeout=30, trust_env=False)

    @property
    def events(self) -> list[dict[str, Any]]:
        if not self.events_path.exists():
            return []
        return [json.loads(line) for line in self.events_path.read_text().splitlines()]

    def told(self, message_id: str) -> Counter[str]:
        """What was told of a message, and how often: `{"mail_sent": 1, "noted:sent": 1, …}`."""
        return Counter(event["name"] for event in self.events if event["id"] == message_id)

    def delivery(self, message_id: str) -> Any:
        return get_delivery(message_id, app=self.app)

    def wait_until(self, condition: Callable[[], Any], *, what: str = "", timeout_seconds: float = 30.0) -> Any:
        """Wait for the condition and return its value; the error shows what was told and the worker's last lines."""
        deadline = time.monotonic() + timeout_seconds
        nudge_at = time.monotonic() + 2
        while not (value := condition()):
            if time.monotonic() > nudge_at:
                # What the proxy could not report it tries again within five minutes, or when it is told to.
                nudge_at = time.monotonic() + 1
                with suppress(httpx.HTTPError):
                    self.tenant.proxy.run_now(self.tenant.id)
            if time.monotonic() > deadline:
                log = "\n".join(self.worker.log.splitlines()[-30:])
                raise TimeoutError(f"not within {timeout_seconds:g} s: {what}\n{self.events}\n{log}")
            time.sleep(0.05)
        return value

    def wait_told(self, message_id: str, *names: str, timeout_seconds: float = 30.0) -> None:
        self.wait_until(
            lambda: set(names) <= self.told(message_id).keys(),
            what=f"{names} of {message_id}",
            timeout_seconds=timeout_seconds,
        )

    def settle(self, seconds: float = 1.5) -> None:
        """Give a mistaken second dispatch the time to happen."""
        time.sleep(seconds)

    def hang_at(self, name: str, task_id: str) -> Path:
        """Make the task hang at `postrun`, `publish`, `join` or `resume` (see `mail_app`).

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
