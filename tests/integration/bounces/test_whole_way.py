"""From a mail that bounces to the handler that hears of it, on real parts; and whoever reads may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_mailproxy.testing import MailSink
from tests.harness.mail_stack import MailStack
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer
from tests.unit.bounces.boxes import FilledMaildir, FilledMbox

pytestmark = [pytest.mark.integration, pytest.mark.long(70)]

NOTICE = """\
Return-Path: <>
From: MAILER-DAEMON@mx.example.com (Mail Delivery System)
To: {to}
Subject: Undelivered Mail Returned to Sender
Date: Mon, 02 Mar 2026 10:00:0{second} +0000
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

The mail could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com

Final-Recipient: rfc822; ann@example.com
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b
Content-Type: message/rfc822

{original}
--b--
"""

#: Reads the mailbox, and is killed in the midst of it: where the first argument says.
_READ_AND_DIE = """
import os, signal, sys
from celery_mailproxy.bounces.mailboxes.maildir import Maildir
from celery_mailproxy.bounces.mailboxes.mbox import MboxFile
from celery_mailproxy.bounces.reader import read_bounces
from celery_mailproxy.dispatch.postponing import Postponer
from celery_mailproxy.runtime import get_runtime
from tests.harness.mail_app import app

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

runtime = get_runtime(app)
moment = sys.argv[1]
if moment == "before the broker has it":
    Postponer.postpone = die
elif moment == "before it is marked":
    Maildir.mark_seen = MboxFile.mark_seen = die
elif moment == "before the place is noted":
    type(runtime.store).set_value = die
read_bounces(runtime)
"""


def notice(original: bytes, *, to: str, second: int = 0) -> bytes:
    return NOTICE.format(to=to, second=second, original=original.decode("latin-1")).encode("latin-1")


@pytest.fixture
def stack(tenant: ProxyTenant, redis_server: RedisServer, box: FilledMaildir | FilledMbox) -> Iterator[MailStack]:
    conf: dict[str, Any] = {
        "mail_proxy_bounce_mailbox": box.url,
        "mail_proxy_bounce_address": "bounces+{id}@shop.example.com",
        # Read when the test says so.
        "mail_proxy_maintenance_seconds": 0,
    }
    with MailStack(tenant, broker_url=redis_server.url, conf=conf, options=("--concurrency", "1")) as stack:
        yield stack


@pytest.fixture(params=["maildir", "mbox"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> FilledMaildir | FilledMbox:
    return FilledMaildir(tmp_path) if request.param == "maildir" else FilledMbox(tmp_path)


def read(stack: MailStack, *, moment: str = "") -> int:
    """Read the mailbox in a process of its own; its exit code."""
    env = {**os.environ, "TEST_CONF": json.dumps(stack.conf), "TEST_EVENTS": str(stack.events_path)}
    command = [sys.executable, "-c", _READ_AND_DIE, moment]
    return subprocess.run(command, env=env, cwd=Path(__file__).parents[3], check=False, timeout=120).returncode


def sent_mail(stack: MailStack, sink: MailSink, number: int) -> tuple[str, Any]:
    """A mail that has arrived in the sink, and its message id."""
    message_id = str(stack.send(callbacks=False, to=["ann@example.com"], subject=f"Mail {number}").id)
    stack.wait_told(message_id, "mail_sent")
    return message_id, next(mail for mail in sink.mails if mail.message["Subject"] == f"Mail {number}")


def test_bounce_reaches_the_handler_once_whenever_the_reader_is_killed(
    stack: MailStack, mail_sink: MailSink, box: FilledMaildir | FilledMbox
) -> None:
    ids = []
    for number, moment in enumerate(("before the broker has it", "before it is marked", "before the place is noted")):
        message_id, mail = sent_mail(stack, mail_sink, number)
        ids.append(message_id)
        assert mail.mail_from == f"bounces+{message_id}@shop.example.com"
        box.deliver(notice(mail.raw, to=mail.mail_from, second=number))
        assert read(stack, moment=moment) == -signal.SIGKILL
        assert read(stack) == 0
        stack.wait_told(message_id, "mail_bounced")
    last, mail = sent_mail(stack, mail_sink, 9)
    # Neither by its address nor by the mail's Message-ID alone: by the one that is there.
    box.deliver(notice(b"Subject: nothing\n\n", to=mail.mail_from, second=8))
    assert read(stack) == 0
    # One worker's process does one task after the other: whatever was published before has been dispatched.
    stack.wait_told(last, "mail_bounced")
    heard = Counter(each["id"] for each in stack.events if each.get("name") == "mail_bounced")
    assert heard == dict.fromkeys([*ids, last], 1)
    assert {str(stack.delivery(each).status) for each in ids} == {"bounced"}
