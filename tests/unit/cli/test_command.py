"""What the commands share: an error is one line."""

from __future__ import annotations

import pytest
from celery import Celery

from tests.unit.cli.shop import Run


def test_an_error_is_one_line_and_no_traceback(run: Run, app: Celery) -> None:
    app.conf.mail_proxy_store = "floppy://a"
    result = run("status", "m1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: store must be redis://")
    assert len(result.stderr.splitlines()) == 1


def test_the_traceback_can_be_asked_for(run: Run, app: Celery) -> None:
    app.conf.mail_proxy_store = "floppy://a"
    with pytest.raises(Exception, match="store must be"):
        run("status", "m1", "--traceback")
    with pytest.raises(Exception, match="store must be"):
        run("status", "m1", env={"CELERY_MAILPROXY_DEBUG": "1"})
