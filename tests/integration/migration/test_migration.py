"""A mail task moves to the proxy on real parts: Redis, a worker, the real proxy, and an SMTP server for both ways."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner

from celery_mailproxy.cli import mailproxy
from celery_mailproxy.migration.breaker import BreakerState, breaker_value
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.tap import Tap
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.long(70), pytest.mark.full_with("commands")]

MODULE = "tests.harness.migrating_app"


class MigratingStack(MailStack):
    """A `MailStack` whose worker has the migrated task."""

    def __init__(self, tenant: ProxyTenant, *, smtp_port: int, **options: Any) -> None:
        super().__init__(tenant, module=MODULE, env={"TEST_SMTP_PORT": str(smtp_port)}, **options)

    def receipts(self, numbers: range) -> list[str]:
        """Call the task as callers always have; the task ids."""
        args = [(number, f"to{number}@example.com") for number in numbers]
        return [self.app.send_task("shop.send_receipt", each).id for each in args]

    def wait_all_told(self, ids: list[str]) -> None:
        self.wait_until(lambda: all(self.told(each)["noted:sent"] for each in ids), what="all sent")

    def command(self, *args: str) -> str:
        context = CLIContext(app=self.app, no_color=True, workdir=None)
        done = CliRunner().invoke(mailproxy, list(args), obj=context, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return str(done.output)

    def set_share(self, share: float) -> None:
        self.command("share", str(share))

    @property
    def breaker(self) -> str:
        """The state that all workers see."""
        return BreakerState.load(get_runtime(self.app).store.get_value(breaker_value("default"))).name


@pytest.fixture
def tap(real_proxy: RealProxy) -> Iterator[Tap]:
    """Between the worker and the proxy."""
    with Tap(real_proxy.port) as tap:
        yield tap


@pytest.fixture
def stack(tenant: ProxyTenant, redis_server: RedisServer, mail_sink: MailSink, tap: Tap) -> Iterator[MigratingStack]:
    conf = {
        "mail_proxy_migration": {
            "share": 0,
            "sticky": "recipient",
            "fallback": "unreachable",
            "breaker_failures": 3,
            "breaker_seconds": 2,
        }
    }
    options: Any = {"broker_url": redis_server.url, "proxy_url": f"http://127.0.0.1:{tap.port}", "conf": conf}
    with MigratingStack(tenant, smtp_port=mail_sink.port, **options) as stack:
        yield stack


def ways(stack: MigratingStack, ids: list[str]) -> Counter[str]:
    """How many mails went which way, by the reports that ended them."""
    deliveries = [stack.delivery(each) for each in ids]
    return Counter(each.outcome.via for each in deliveries)


def is_closed_after_one_more(stack: MigratingStack, number: int) -> bool:
    stack.wait_all_told(stack.receipts(range(number, number + 1)))
    return stack.breaker == "closed"


def arrived(mail_sink: MailSink) -> Counter[str]:
    return Counter(mail.rcpt_to[0] for mail in mail_sink.mails)


def test_the_whole_move_and_the_way_back(stack: MigratingStack, mail_sink: MailSink, tap: Tap) -> None:
    first = stack.receipts(range(20))
    stack.wait_all_told(first)
    assert ways(stack, first) == {"legacy": 20}
    assert all(stack.told(each)["mail_sent"] == 1 for each in first)

    stack.set_share(0.5)
    second = stack.receipts(range(20, 60))
    # Whoever dies meanwhile, its tasks come again and keep their way.
    stack.worker.kill_pool()
    stack.wait_all_told(second)
    divided = ways(stack, second)
    assert divided["proxy"] > 8
    assert divided["legacy"] > 8

    stack.set_share(1)
    third = stack.receipts(range(60, 80))
    stack.wait_all_told(third)
    assert ways(stack, third) == {"proxy": 20}

    with tap.shut():
        fallen_back = stack.receipts(range(80, 90))
        stack.wait_all_told(fallen_back)
        assert ways(stack, fallen_back) == {"legacy": 10}
        seen = json.loads(stack.command("migration", "--queue", stack.queue, "--json"))
        assert seen["breakers"]["default"]["name"] in ("open", "half-open")
    # Once the breaker's time is over a mail tries the proxy; the others go by what the breaker says, until it closes.
    numbers = itertools.count(90)
    stack.wait_until(lambda: is_closed_after_one_more(stack, next(numbers)), what="the breaker closes")
    first_again = next(numbers)
    again = stack.receipts(range(first_again, first_again + 6))
    stack.wait_all_told(again)
    assert ways(stack, again) == {"proxy": 6}

    stack.set_share(0)
    total = first_again + 16
    last = stack.receipts(range(total - 10, total))
    stack.wait_all_told(last)
    assert ways(stack, last) == {"legacy": 10}
    # An SMTP server knows no ids: a mail whose worker was killed just there may have come twice.
    twice = [address for address, number in arrived(mail_sink).items() if number > 1]
    assert len(arrived(mail_sink)) == total
    assert len(twice) <= 2
    seen = json.loads(stack.command("migration", "--queue", stack.queue, "--json"))
    assert seen["periods"]["hour"]["proxy"]["sent"] + seen["periods"]["hour"]["legacy"]["sent"] == total
    assert seen["breakers"]["default"]["name"] == "closed"


def test_refusals_and_retries_of_smtp_are_told_as_a_proxy_tells_them(
    stack: MigratingStack, mail_sink: MailSink
) -> None:
    mail_sink.answer_next("slow@example.com", "451 4.3.0 try later")
    slow = stack.app.send_task("shop.send_receipt", (1, "slow@example.com")).id
    gone = stack.app.send_task("shop.send_receipt", (2, "refused@example.com")).id
    stack.wait_told(slow, "mail_deferred", "noted:deferred", "mail_sent", "noted:sent")
    stack.wait_told(gone, "mail_error", "noted:error")
    assert stack.delivery(slow).attempts == 2
    assert stack.delivery(gone).outcome.code == "550"


def test_a_mail_whose_task_is_revoked_or_expires_between_two_tries_ends(
    stack: MigratingStack, mail_sink: MailSink
) -> None:
    mail_sink.stop()
    revoked = stack.app.send_task("shop.send_receipt", (1, "to1@example.com")).id
    # Long enough for the first try to begin on a busy machine.
    expiring = stack.app.send_task("shop.send_receipt", (2, "to2@example.com"), expires=30).id
    for each in (revoked, expiring):
        stack.wait_told(each, "mail_deferred")
    assert stack.app.control.revoke(revoked, reply=True, limit=1, timeout=PATIENCE_SECONDS)
    for each in (revoked, expiring):
        stack.wait_told(each, "mail_error", "noted:error")
    mail_sink.start()
    stack.drain()
    assert mail_sink.mails == []
    reasons = [stack.delivery(each).reason for each in (revoked, expiring)]
    assert reasons == [f"the task {what} before the email was sent" for what in ("was revoked", "expired")]
    assert ways(stack, [revoked, expiring]) == {"legacy": 2}
