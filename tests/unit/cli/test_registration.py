"""Every worker that Celery's command line starts registers our tasks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.harness.waiting import PATIENCE_SECONDS

#: A process in which nothing of ours is imported but the plugin, and a worker about to start. Its app is as given.
WORKER = """
import logging
import sys
from types import SimpleNamespace
from celery import Celery
from celery.signals import celeryd_after_setup, celeryd_init
import celery.bin.celery
assert "celery_mailproxy.tasks" not in sys.modules
app = {app}
app.conf.update({conf})
{first}
celeryd_init.send(sender="w@h", instance=SimpleNamespace(app=app), options={{}})
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
celeryd_after_setup.send(sender="w@h", instance=SimpleNamespace(app=app), conf=app.conf)
print(sorted(name for name in app.tasks if name.startswith("celery_mailproxy.")))
print("confirms", app.amqp._producer_pool is not None)
"""
ALL = (
    "['celery_mailproxy.deliver_from_chunk', 'celery_mailproxy.deliver_via_proxy', 'celery_mailproxy.dispatch_reports',"
    " 'celery_mailproxy.dispatch_stalled', 'celery_mailproxy.heal_mail', 'celery_mailproxy.prune_deliveries',"
    " 'celery_mailproxy.resume_stalled', 'celery_mailproxy.send_many_via_proxy', 'celery_mailproxy.send_via_proxy',"
    " 'celery_mailproxy.store_result']"
)


def started(app: str, *, conf: str = "", first: str = "") -> list[str]:
    """What the worker logs at its start, then its tasks of ours, and whether it confirms."""
    code = WORKER.format(app=app, conf=conf, first=first)
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS, stdout=subprocess.PIPE, text=True
    )
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    ("app", "first"),
    [
        ("Celery('x', broker='memory://')", ""),
        ("Celery('x', broker='memory://', set_as_current=False)", ""),
        ("Celery('x', broker='memory://', set_as_current=False)", "app.finalize()"),
        ("Celery('x', broker='memory://', autofinalize=False)", "app.finalize()"),
    ],
    ids=["current", "not current", "finalised", "by hand"],
)
def test_a_worker_of_any_app_registers_the_tasks(app: str, first: str) -> None:
    *logged, tasks, _ = started(app, first=first)
    assert tasks == ALL
    # It has none of our settings, and nothing to do with mails.
    assert logged == []


def test_a_worker_with_settings_hears_what_it_lacks_and_confirms() -> None:
    conf = "mail_proxy_url='http://127.0.0.1:9'"
    (logged, tasks, confirms) = started("Celery('x', broker='amqp://')", conf=conf)
    assert logged.startswith("WARNING this worker's application imports celery_mailproxy nowhere;")
    assert tasks == ALL
    assert confirms == "confirms True"


def test_a_worker_with_wrong_settings_starts_and_says_that_mails_wait() -> None:
    (logged, tasks, _) = started("Celery('x', broker='memory://')", conf="mail_proxy_url='proxy'")
    assert logged.startswith("ERROR emails that this worker takes will wait: mail_proxy_url must be")
    assert tasks == ALL


def test_a_worker_whose_app_imports_the_tasks_hears_nothing() -> None:
    first = "import celery_mailproxy.tasks"
    conf = "mail_proxy_url='http://127.0.0.1:9'"
    assert len(started("Celery('x', broker='memory://')", conf=conf, first=first)) == 2


def test_a_worker_starts_where_the_tasks_cannot_be_imported() -> None:
    first = "sys.modules['httpx'] = None"
    (logged, tasks, _) = started("Celery('x', broker='memory://')", first=first)
    assert logged.startswith("ERROR celery-mailproxy's tasks are not registered, an email that comes here is lost:")
    assert tasks == "[]"
