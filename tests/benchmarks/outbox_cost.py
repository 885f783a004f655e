"""What the outbox costs a mail of Django's backend, in milliseconds, as JSON. `test_outbox` runs this in a process.

Each mail is sent in a transaction of its own, to a broker in memory, in the database that `DJANGO_TEST_DATABASE` names.
"""

from __future__ import annotations

import json
import time

import django

django.setup()

from celery import Celery  # noqa: E402
from django.core.mail import EmailMessage  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402

from celery_mailproxy.django.backends import EmailBackend  # noqa: E402
from celery_mailproxy.django.models import EmailLog, OutboxMessage  # noqa: E402
from celery_mailproxy.runtime import forget_runtime  # noqa: E402

MAILS = 100
TURNS = 6
LINE = "Thank you for your order, it is on its way.\n"
BODIES = {"2 KB": LINE * 45, "40 KB": LINE * 900}

app = Celery("benchmark", broker="memory://")
app.set_default()


def milliseconds(body: str, *, outbox: bool) -> float:
    """Of one mail."""
    app.conf.update(mail_proxy_store="django://", mail_proxy_outbox=outbox)
    forget_runtime(app)
    backend = EmailBackend()
    begun = time.perf_counter()
    for number in range(MAILS):
        mail = EmailMessage(f"Order {number}", body, "shop@example.com", [f"to{number}@example.com"])
        with transaction.atomic():
            backend.send_messages([mail])
    return (time.perf_counter() - begun) / MAILS * 1000


def bare(body: str) -> float:
    """The two statements alone: a row in, and out again when the mail is done."""
    begun = time.perf_counter()
    for number in range(MAILS):
        with transaction.atomic():
            OutboxMessage.objects.bulk_create(
                [OutboxMessage(task_id=f"bare-{number}", content=body, due_at="2026-01-01T00:00Z")],
                ignore_conflicts=True,
            )
        OutboxMessage.objects.filter(task_id=f"bare-{number}").delete()
    return (time.perf_counter() - begun) / MAILS * 1000


def main() -> None:
    call_command("migrate", verbosity=0)
    found = {}
    for size, body in BODIES.items():
        # The best of several turns, in turn: other programs take their share of some of them.
        turns = [(milliseconds(body, outbox=True), milliseconds(body, outbox=False), bare(body)) for _ in range(TURNS)]
        with_outbox, without, alone = (min(column) for column in zip(*turns, strict=True))
        found[size] = {"with": with_outbox, "without": without, "statements": alone}
        EmailLog.objects.all().delete()
        OutboxMessage.objects.all().delete()
    print(json.dumps({"database": connection.display_name, "milliseconds": found}))


if __name__ == "__main__":
    main()
