"""Tasks that both released packages have published into Redis, drained by a new worker through the real proxy."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest

from celery_mailproxy.django.drain.models import DeadLetter
from celery_mailproxy.django.models import EmailLog
from celery_mailproxy.testing import MailSink
from examples.migration.old_side import install_old_side
from tests.conftest import required_under_ci
from tests.django.harness.messages import seen
from tests.django.harness.project_stack import ProjectStack
from tests.harness import read_mail
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer, ServiceMissing
from tests.harness.waiting import PATIENCE_SECONDS

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long(90),
    pytest.mark.timeout(900),
    pytest.mark.full_with("commands"),
]

NOBODY = {"subject": "to nobody"}


@pytest.fixture(scope="module", params=["3.0.0", pytest.param("reboot", marks=pytest.mark.full)])
def old_python(request: pytest.FixtureRequest) -> Path:
    """The Python of the old side."""
    with required_under_ci():
        try:
            return install_old_side(request.param)
        except RuntimeError as exc:
            raise ServiceMissing(str(exc)) from exc


@pytest.fixture
def stack(transactional_db: None, tenant: ProxyTenant, redis_server: RedisServer) -> Iterator[ProjectStack]:
    # Containers run tests as root, as which Celery takes no pickle without being told so.
    env = {"C_FORCE_ROOT": "true"}
    conf = {"mail_proxy_store": "django://", "accept_content": ["json", "pickle"]}
    with ProjectStack(tenant, broker_url=redis_server.url, env=env, conf=conf) as stack:
        # As in a move: the mails are there before the worker is.
        stack.worker.stop()
        yield stack


def publish(python: Path, stack: ProjectStack, serializer: str) -> dict[str, bytes]:
    """Publish with the old package; address → the mail as its own worker would have sent it."""
    wanted = {"broker_url": stack.conf["broker_url"], "queue": stack.queue, "serializer": serializer}
    done = subprocess.run(
        [str(python), str(Path(__file__).parents[1] / "harness" / "old_publisher.py"), json.dumps(wanted)],
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DJANGO"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {to: base64.b64decode(source) for to, source in json.loads(done.stdout).items()}


def drained(stack: ProjectStack, sink: MailSink, number: int) -> dict[str, Any]:
    """Start the new worker; what has arrived, by its first recipient."""
    stack.worker.start()
    mails = sink.wait_for(number, timeout_seconds=PATIENCE_SECONDS)
    stack.wait_until(lambda: EmailLog.objects.filter(status="sent").count() == number, what="all reported")
    stack.drain()
    assert len(sink.mails) == len(mails) == number
    return {mail.rcpt_to[0]: seen_as_it_was(mail.raw) for mail in mails}


def seen_as_it_was(source: bytes) -> dict[str, Any]:
    """What a reader sees, but for what each building of the mail makes anew."""
    # The line ends of an attached text are SMTP's or those of the file, as it was encoded.
    parsed = seen(read_mail.parse(re.sub(rb"\r?\n", b"\n", source)))
    return {name: value for name, value in parsed.items() if name not in ("date", "message-id")}


def test_every_mail_of_the_old_package_arrives_once_and_unchanged(
    stack: ProjectStack, mail_sink: MailSink, old_python: Path
) -> None:
    meant = publish(old_python, stack, "json")
    arrived = drained(stack, mail_sink, len(meant))
    assert arrived == {to: seen_as_it_was(source) for to, source in meant.items()}
    (letter,) = DeadLetter.objects.all()
    assert json.loads(letter.content) == NOBODY
    assert "s3cret" not in stack.worker.log
    assert "example.com" not in stack.worker.log


@pytest.mark.full
def test_pickled_messages_arrive_where_the_application_takes_them(
    stack: ProjectStack, mail_sink: MailSink, old_python: Path
) -> None:
    meant = publish(old_python, stack, "pickle")
    if django.VERSION < (5, 2):
        # The old side has a newer Django, which pickles an attachment as a class that this one has not got. No worker
        # can decode that task; it is kept.
        meant = {to: source for to, source in meant.items() if to == "pickled-alone@example.com"}
    arrived = drained(stack, mail_sink, len(meant))
    assert arrived == {to: seen_as_it_was(source) for to, source in meant.items()}
    reasons = list(DeadLetter.objects.values_list("reason", flat=True))
    assert ["DecodeError" in reason for reason in reasons] == ([True] if django.VERSION < (5, 2) else [])
