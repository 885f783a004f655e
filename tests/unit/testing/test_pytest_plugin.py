"""The fixtures for the users' own tests."""

from __future__ import annotations

import subprocess
import sys

from celery_mailproxy.testing import FakeProxy
from tests.unit.testing.messages import message


def test_pytest_plugin_imports_no_more_than_pytest() -> None:
    # It is loaded in every project that has celery-mailproxy installed.
    script = (
        "import sys, pytest; before = set(sys.modules); import celery_mailproxy.testing.pytest_plugin\n"
        "heavy = {'httpx', 'aiosmtpd', 'celery_mailproxy.testing.fake_proxy'} & (set(sys.modules) - before)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_fixtures_are_running_proxies(mail_proxy: FakeProxy, mail_proxy_commands: FakeProxy) -> None:
    assert mail_proxy.submit([message("m")]).json()["queued"] == 1
    assert mail_proxy_commands.submit([message("m")]).json()["queued"] == 1
    assert [mail_proxy.api, mail_proxy_commands.api] == ["entities", "commands"]
