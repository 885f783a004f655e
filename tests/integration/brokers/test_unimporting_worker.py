"""Two workers on one queue, one of an application that never imports the package: none is lost that it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from celery_mailproxy.cli.check.app_links import check_workers
from celery_mailproxy.cli.check.links import Link, Outcome
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import CeleryWorker, RedisServer
from ...harness.waiting import wait_until

pytestmark = pytest.mark.integration

APP = "tests.harness.bare_app"


class WorkerWithoutPlugin(CeleryWorker):
    """Started by Python code, which does not load plugins of Celery's command line."""

    def command(self) -> list[str]:
        (queue,) = self.options
        code = (
            f"from {self.app} import app\n"
            f"app.Worker(hostname='{self.name}@%h', queues='{queue}', loglevel='INFO', concurrency=1, "
            f"without_mingle=True).start()"
        )
        return [self.python, "-c", code]


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer) -> Iterator[MailStack]:
    with FakeProxy("entities") as proxy:
        tenant = ProxyTenant(proxy=proxy, smtp_host="127.0.0.1", smtp_port=25).add()
        with MailStack(tenant, broker_url=redis_server.url_of(7)) as stack:
            yield stack


def environment(stack: MailStack) -> dict[str, str]:
    return {"TEST_EVENTS": str(stack.events_path), "TEST_CONF": json.dumps(stack.conf)}


def found(stack: MailStack, outcome: Outcome) -> str:
    """What `check` finds of the workers, once that is its outcome: a busy one may not answer in time."""

    def link() -> Link:
        return check_workers(stack.app, get_runtime(stack.app).settings, timeout_seconds=5)

    return wait_until(lambda: seen.found if (seen := link()).outcome is outcome else "", lambda: str(link()))


def test_a_worker_that_never_imports_the_package_takes_mails_and_reports(stack: MailStack) -> None:
    first = f"{stack.worker.name}@"
    with CeleryWorker(
        APP, name="bare", options=["--concurrency", "1", "-Q", stack.queue], env=environment(stack)
    ) as bare:
        (hostname,) = (each for each in stack.app.control.inspect(timeout=5).registered() if each.startswith(first))
        both = [stack.send() for _ in range(8)]
        for mail in both:
            stack.wait_told(mail.id, "noted:sent")
        # Then all fall to the other one, whatever chance did before.
        stack.app.control.cancel_consumer(stack.queue, destination=[hostname], reply=True, timeout=5)
        alone = [stack.send() for _ in range(8)]
        for mail in alone:
            stack.wait_told(mail.id, "noted:sent")
            assert stack.delivery(mail.id).status.value == "sent"
        stack.app.control.add_consumer(stack.queue, destination=[hostname], reply=True, timeout=5)
        assert bare.log.count("Task celery_mailproxy.send_via_proxy") >= 16
        assert "unregistered" not in bare.log
        assert "imports celery_mailproxy nowhere" in bare.log
        assert "bare@" in found(stack, Outcome.OK)


def test_check_names_a_worker_that_lacks_the_tasks(stack: MailStack) -> None:
    with WorkerWithoutPlugin(APP, name="old", options=[stack.queue], env=environment(stack)):
        said = found(stack, Outcome.FAILED)
        assert f"takes tasks from {stack.queue} and discards celery_mailproxy.send_via_proxy and 5 more" in said
        assert "; old@" in said
