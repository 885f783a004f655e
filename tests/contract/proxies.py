"""The proxies that the contract holds for: every flavour of `FakeProxy`, and every real one that can be had.

0.5.0 and 0.7.0 come from the package index. For 0.6.10 and the line in development name a source tree in the
environment: `MAILPROXY_SOURCE_COMMANDS_06` and `MAILPROXY_SOURCE_V1`, and with `…_PYTHON` behind it an interpreter that
has its dependencies.
"""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path
from typing import Any, cast

import httpx

from celery_mailproxy.testing import FakeProxy, RealProxy
from celery_mailproxy.testing.outcomes import deferred, error
from celery_mailproxy.testing.proxy_admin import API, Profile

from ..harness.proxy_tenant import ProxyTenant
from ..harness.report_sink import ReportSink
from ..harness.waiting import wait_until

__all__ = [
    "LATE",
    "OTHER",
    "PROXIES",
    "REFUSED_TEXT",
    "SUBMIT",
    "AnyProxy",
    "future",
    "new_proxy",
    "nudged_reports",
    "refusal_in",
    "refused",
]

AnyProxy = FakeProxy | RealProxy

#: What the contract differs by most: the releases since 0.5.8 that have `/commands`.
LATE = ("commands-0.6", "v1")

SUBMIT: dict[str, str] = {
    "commands-0.5": "/commands/add-messages",
    "commands-0.6": "/commands/add-messages",
    "entities": "/messages/add_batch",
    "v1": "/commands/add-messages",
}
OTHER: dict[str, Profile] = {
    "commands-0.5": "entities",
    "commands-0.6": "entities",
    "entities": "commands-0.5",
    "v1": "entities",
}
REFUSED_TEXT = "(554, '5.7.1 message refused') (SMTP 554)"

_SOURCES = {"commands-0.6": "MAILPROXY_SOURCE_COMMANDS_06", "v1": "MAILPROXY_SOURCE_V1"}

PROXIES = [
    "fake-commands-0.5",
    "fake-commands-0.6",
    "fake-entities",
    "fake-v1",
    "real-commands-0.5",
    "real-entities",
    *(f"real-{name}" for name, variable in _SOURCES.items() if os.environ.get(variable)),
]


def new_proxy(name: str, **options: Any) -> AnyProxy:
    kind, _, api = name.partition("-")
    if kind == "real":
        return RealProxy(cast(API, api), **_source_of(api), **options)
    # As slow to come again as the real one: what a test waits for is then `run_now`.
    proxy = FakeProxy(cast(API, api), resend_seconds=300)
    # What the real ones make of the answers of `MailSink`.
    proxy.plan(lambda message: _recipient(message).startswith("spam"), error(REFUSED_TEXT))
    later = "[SMTPRecipientRefused(451, '4.3.0 try later', 'later@example.com')]"
    proxy.plan(lambda message: _recipient(message).startswith("later"), deferred(later))
    return proxy


def future() -> int:
    """A moment at which no test is left, in unix seconds."""
    return int(time.time()) + 3600


def refused(answer: httpx.Response, profile: str) -> list[dict[str, Any]]:
    """The refusals of a submission of which nothing was accepted."""
    if profile != "entities":
        assert answer.status_code == 400
        detail = refusal_in(answer, profile)
        assert detail["error"] is None
        return list(detail["rejected"])
    assert answer.status_code == 200
    assert (answer.json()["ok"], answer.json()["queued"]) == (True, 0)
    return list(answer.json()["rejected"])


def refusal_in(answer: httpx.Response, profile: str) -> Any:
    """What a 400 or a 422 says."""
    return ast.literal_eval(answer.json()["error"]) if profile == "v1" else answer.json()["detail"]


def _recipient(message: dict[str, Any]) -> str:
    to = message["to"]
    return str(to[0]) if isinstance(to, list) and to else ""


def _source_of(api: str) -> dict[str, Any]:
    if api not in _SOURCES:
        return {}
    python = os.environ.get(f"{_SOURCES[api]}_PYTHON")
    return {"source": Path(os.environ[_SOURCES[api]])} | ({"python": Path(python)} if python else {})


def nudged_reports(tenant: ProxyTenant, sink: ReportSink, count: int) -> list[dict[str, Any]]:
    """The reports that have come, once there are so many of a tenant that is asked for them again and again.

    Once is not enough: while a real proxy is still at the answer to its last report, it forgets that it was asked.
    """

    def have_come() -> list[dict[str, Any]]:
        reports = [report for request in sink.requests for report in request.reports]
        if len(reports) < count:
            tenant.proxy.run_now(tenant.id)
            return []
        return reports

    return wait_until(have_come, f"{count} reports", pause_seconds=0.5)
