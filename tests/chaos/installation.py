"""All parts of one configuration: servers, relays, workers, receivers, callers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery_mailproxy.testing import RealProxy
from celery_mailproxy.testing.ports import free_port
from tests.harness.databases import PostgresServer
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import CeleryWorker, RabbitServer, RedisServer, ServerProcess
from tests.harness.wire import Wire

from .configuration import VISIBILITY_SECONDS, Configuration
from .ledger import Ledger
from .load import Side
from .noting_sink import NotingSink
from .processes import APP, Caller, Receiver
from .relays import ReportRelay, SubmissionRelay
from .small_disk import SmallDisk

if TYPE_CHECKING:
    # Python 3.10 has no typing.Self.
    from typing_extensions import Self

__all__ = ["Installation"]

_DJANGO = "tests.django.settings"


class Installation:
    """Enter it to start all but the callers; the end of the block ends every process.

    Attributes: `broker`, `store` (the Redis of the results, and of deliveries where they are in Redis), `database`
    (Django's PostgreSQL), `proxy`, `sink`; before each server its `…_wire`, before the proxy `submissions`, before the
    receivers `reports`; `workers`, `receivers` and `callers` by name; `disk`, where an SQLite store is.
    """

    def __init__(self, configuration: Configuration, folder: Path) -> None:
        self.configuration = configuration
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.jsonl")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        enter = stack.enter_context
        self.disk = enter(SmallDisk(self.folder / "disk"))
        self.sink = enter(NotingSink(self.ledger))
        self.broker = enter(RedisServer() if self.configuration.broker == "redis" else RabbitServer())
        self.store = enter(RedisServer(options={"maxmemory-policy": "noeviction"}))
        self.database = enter(PostgresServer(is_killed=True))
        # Its own interval, for its cycles cost more than mails do; but what was deferred is tried again soon.
        self.proxy = enter(
            RealProxy(self.configuration.api, send_interval_seconds=0.5, retry_delays_seconds=(1, 1, 2, 2, 5))
        )
        self.broker_wire = enter(Wire(self.broker.port))
        self.store_wire = enter(Wire(self.store.port))
        self.database_wire = enter(Wire(self.database.port))
        self.submissions = SubmissionRelay(self.proxy.url, self.ledger)
        enter(self.submissions)
        self.tenants = {
            side: ProxyTenant(proxy=self.proxy, smtp_host=self.sink.host, smtp_port=self.sink.port, suffix=side.value)
            for side in Side
        }
        self._add_processes()
        for process in (*self.workers.values(), *self.receivers.values()):
            stack.callback(process.close)
        self._migrate()
        for process in (*self.workers.values(), *self.receivers.values()):
            process.launch()
        for process in (*self.workers.values(), *self.receivers.values()):
            process.wait_ready()
        enter(self.reports)
        for side, tenant in self.tenants.items():
            tenant.add(f"{self.reports.url}/{side.value}")
        self.callers: dict[str, Caller] = {}
        stack.callback(self._close_callers)

    def _close_callers(self) -> None:
        for caller in self.callers.values():
            caller.close()

    def _add_processes(self) -> None:
        ports = {side: free_port() for side in Side}
        self.workers = {
            "worker-plain-1": self._worker("worker-plain-1", Side.PLAIN, listen=ports[Side.PLAIN]),
            "worker-plain-2": self._worker("worker-plain-2", Side.PLAIN),
            "worker-django": self._worker("worker-django", Side.DJANGO, listen=ports[Side.DJANGO]),
        }
        self.receivers = {side.value: Receiver(f"receiver-{side.value}", self.environment(side)) for side in Side}
        urls = {side.value: (f"http://127.0.0.1:{ports[side]}", self.receivers[side.value].url) for side in Side}
        self.reports = ReportRelay(urls, self.ledger)

    def _worker(self, name: str, side: Side, *, listen: int | None = None) -> CeleryWorker:
        options = ["--concurrency", "2", "-Q", f"mails-{side.value}"]
        if listen:
            options += ["--mailproxy-listen", f"127.0.0.1:{listen}"]
        return CeleryWorker(APP, options=options, env=self.environment(side), name=name)

    def environment(self, side: Side) -> dict[str, str]:
        """For a process of that application."""
        given = {"conf": self._conf(side), "ledger": str(self.ledger.path)}
        environment = {"CHAOS": json.dumps(given)}
        if side is Side.DJANGO:
            database = {**self.database.django, "PORT": self.database_wire.port}
            environment |= {"DJANGO_SETTINGS_MODULE": _DJANGO, "DJANGO_TEST_DATABASE": json.dumps(database)}
        return environment

    def _conf(self, side: Side) -> dict[str, Any]:
        tenant = self.tenants[side]
        conf: dict[str, Any] = {
            "broker_url": self._broker_url(),
            "broker_connection_retry_on_startup": True,
            "broker_connection_max_retries": None,
            "task_default_queue": f"mails-{side.value}",
            "result_backend": f"redis://127.0.0.1:{self.store_wire.port}/1",
            "mail_proxy_url": self.submissions.url,
            "mail_proxy_token": self.proxy.token,
            "mail_proxy_tenant": tenant.id,
            "mail_proxy_account": tenant.account_id,
            "mail_proxy_sync_token": tenant.sync_token,
            "mail_proxy_from_email": "shop@example.com",
            "mail_proxy_retry_max_seconds": 4,
            # Shorter than some silences.
            "mail_proxy_timeout_seconds": 5,
        }
        if self.configuration.broker == "redis":
            # kombu looks for the tasks of dead workers seldom; not at all for five minutes, where the worker was killed
            # while it looked.
            conf["broker_transport_options"] = {
                "visibility_timeout": VISIBILITY_SECONDS,
                "unacked_mutex_expire": 5,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            }
            # A Redis loses what is on its way to a worker that is killed: the outbox is there for that.
            conf |= {"mail_proxy_outbox": True, "mail_proxy_outbox_seconds": 20}
        if side is Side.PLAIN:
            conf["mail_proxy_store"] = self._store_url()
        return conf

    def _broker_url(self) -> str:
        if self.configuration.broker == "redis":
            return f"redis://127.0.0.1:{self.broker_wire.port}/0"
        return f"amqp://guest:guest@127.0.0.1:{self.broker_wire.port}//"

    def _store_url(self) -> str:
        if self.configuration.has_sqlite:
            return f"sqlite:///{self.disk.folder / 'deliveries.sqlite3'}"
        return f"redis://127.0.0.1:{self.store_wire.port}/2"

    def _migrate(self) -> None:
        command = [sys.executable, "-m", "django", "migrate", "--skip-checks", "--verbosity", "0"]
        subprocess.run(command, env={**os.environ, **self.environment(Side.DJANGO)}, check=True)

    def start_callers(self) -> float:
        """Begin the load; when it began, in unix seconds."""
        began_at = time.time() + 1
        size = {"seed": self.configuration.seed, "mails": self.configuration.mails}
        for side in Side:
            argument = {**size, "seconds": self.configuration.seconds, "side": side.value, "began_at": began_at}
            caller = Caller(f"caller-{side.value}", self.environment(side), json.dumps(argument))
            self.callers[side.value] = caller
            caller.launch()
        return began_at

    @property
    def processes(self) -> dict[str, ServerProcess]:
        """The application's processes by name: `worker-…`, `receiver-…`, `caller-…`."""
        return {each.name: each for part in (self.workers, self.receivers, self.callers) for each in part.values()}

    def nudge(self) -> None:
        """Let the proxy report what it could not report before: it tries by itself within five minutes only."""
        for tenant in self.tenants.values():
            self.proxy.run_now(tenant.id)
