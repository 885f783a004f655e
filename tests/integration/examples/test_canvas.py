"""examples/canvas, run as its page says, against the real proxy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from celery_mailproxy.testing import MailSink

from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS
from .running import environment, run, running_worker

pytestmark = [pytest.mark.integration, pytest.mark.full_with("commands")]

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/canvas"


def test_the_example_goes_on_when_its_mails_are_delivered(
    tenant: ProxyTenant, mail_sink: MailSink, redis_server: RedisServer, tmp_path: Path
) -> None:
    env = environment(tenant, redis_server, tmp_path)
    env |= {"CELERY_RESULT_BACKEND": redis_server.url_of(6), "PYTHONPATH": f"{EXAMPLE}{os.pathsep}{ROOT}"}
    with running_worker(tenant, "campaign", cwd=EXAMPLE, env=env, redis_server=redis_server):
        output = run("-m", "campaign", "ann@example.com", "spam@example.com", cwd=EXAMPLE, env=env)
    assert output.splitlines() == [
        "chain: order 7 shipped: its confirmation was sent",
        "group: sent",
        "group: not delivered",
        "chord: {'sent': 1, 'error': 1}",
    ]
    assert [mail.message["Subject"] for mail in mail_sink.wait_for(3, timeout_seconds=PATIENCE_SECONDS)] == [
        "Your order 7",
        "News",
        "Spring sale",
    ]
