"""A worker whose settings would hold up every mail does not start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.runtime import forget_runtime
from celery_mailproxy.tasks.results.worker_hooks import check_settings


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("hooks", set_as_current=False)
    yield app
    forget_runtime(app)


def start(app: Celery, **conf: Any) -> None:
    app.conf.update({f"mail_proxy_{name}": value for name, value in conf.items()})
    check_settings(SimpleNamespace(app=app))


def test_settings_that_are_right_let_it_start(app: Celery) -> None:
    start(app, url="http://proxy:8000", servers={"bulk": {"url": "https://bulk:8000"}})


def test_without_a_url_it_may_still_dispatch_reports(app: Celery) -> None:
    start(app, ca_file="/nowhere/ca.pem")


@pytest.mark.parametrize("name", ["ca_file", "client_cert"])
def test_a_file_that_is_missing_keeps_it_from_starting(app: Celery, name: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"mail_proxy_{name} .*bulk.* must name a file that can be read"):
        start(app, servers={"bulk": {"url": "https://bulk:8000", name: str(tmp_path / "missing.pem")}})


def test_an_environment_that_makes_no_client_keeps_it_from_starting(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(SystemExit, match="mail_proxy_trust_env"):
        start(app, url="http://proxy:8000", trust_env=True)


def test_an_environment_that_is_not_trusted_does_not(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    start(app, url="http://proxy:8000")
