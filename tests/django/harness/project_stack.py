"""The tests' Django project on real parts: broker, worker with its listener, proxy, SMTP sink."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery, current_app
from django.db import connection

from tests.harness.mail_stack import MailStack
from tests.harness.proxy_tenant import ProxyTenant

__all__ = ["ProjectStack"]

_DATABASE = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")


class ProjectStack(MailStack):
    """A `MailStack` whose worker is the Django project's; inside it, the test's process publishes to that worker.

    The worker uses the test's database: the test has to ask for `transactional_db`.
    """

    def __init__(
        self, tenant: ProxyTenant, *, broker_url: str, env: dict[str, str] | None = None, conf: dict[str, Any]
    ) -> None:
        database = {name: connection.settings_dict[name] for name in _DATABASE}
        env = {
            "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
            "DJANGO_TEST_DATABASE": json.dumps(database, default=str),
            **(env or {}),
        }
        module = "tests.django.harness.mail_project"
        super().__init__(tenant, broker_url=broker_url, conf=conf, module=module, env=env)
        self._before: Celery | None = None

    def __enter__(self) -> ProjectStack:
        super().__enter__()
        self._before = current_app._get_current_object()
        self.app.set_current()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._before is not None
        self._before.set_current()
        super().__exit__(*error)

    def noted(self, tag: str) -> Any:
        """A callback that `told` shows as `noted:<tag>`."""
        return self.app.signature("tests.noted", kwargs={"tag": tag})
